"""The whole path, front and engine, with sessions in memory, by clients and rows a request."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from export.bundle import read_bundle
from tests.bench.load import begun, percentiles
from tests.bench.reference import Reference
from tests.service.serving import served

CLIENTS = (1, 8, 64, 256)
ROWS = (1, 20)


def report(entry: Path, seconds: float) -> None:
    """Print the table. seconds: of each line."""
    print("\n| clients | rows a request | requests/s | rows/s | p50 ms | p99 ms | wrong |")
    print("|---|---|---|---|---|---|---|")
    bundle = read_bundle(entry / "bundle")
    reference = Reference(bundle)
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), bundle.folder) as server:
        for clients in CLIENTS:
            for rows in ROWS:
                line = _line(server.url, reference, clients, rows, seconds)
                print(asyncio.run(line), flush=True)


async def _line(url: str, reference: Reference, clients: int, rows: int, seconds: float) -> str:
    load = await begun(url, reference, clients, clients, rows)
    turn = await load.turn(seconds)
    p50, p99 = percentiles(turn.latencies)
    return (
        f"| {clients} | {rows} | {turn.rate:,.0f} | {turn.rate * rows:,.0f} | {p50:.2f} | "
        f"{p99:.2f} | {load.wrong()} of {load.checked} |"
    )
