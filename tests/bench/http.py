"""The whole path, front and engine, with sessions in memory, by clients and rows a request."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import numpy as np

from export.bundle import read_bundle
from tests.bench.load import begun, percentiles
from tests.bench.reference import Reference
from tests.service.serving import served

ORIGIN = "Origin: http://localhost\r\n"  # its own, which makes a step the app's
TURNS = 9
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
        print(asyncio.run(_ways(server.url, reference, seconds / TURNS)), flush=True)


async def _ways(url: str, reference: Reference, seconds: float) -> str:
    """What steps below ASGI gain, in turns on one server."""
    hot = await begun(url, reference, 64, 64, 1)
    asgi = await begun(url, reference, 64, 64, 1, ORIGIN)
    ratios: list[float] = []
    for turn in range(TURNS):
        pair = [(load, await load.turn(seconds)) for load in (hot, asgi)[:: 1 - turn % 2 * 2]]
        rates = {load: done.rate for load, done in pair}
        ratios.append(rates[hot] / rates[asgi])
    low, median, high = np.percentile(ratios, [25, 50, 75])
    return (
        f"\nsteps below ASGI to those through the app, one row, 64 clients, {TURNS} turns: median "
        f"{median:.2f}, quartiles {low:.2f}, {high:.2f}; wrong {hot.wrong() + asgi.wrong()} of "
        f"{hot.checked + asgi.checked}"
    )


async def _line(url: str, reference: Reference, clients: int, rows: int, seconds: float) -> str:
    load = await begun(url, reference, clients, clients, rows)
    turn = await load.turn(seconds)
    p50, p99 = percentiles(turn.latencies)
    return (
        f"| {clients} | {rows} | {turn.rate:,.0f} | {turn.rate * rows:,.0f} | {p50:.2f} | "
        f"{p99:.2f} | {load.wrong()} of {load.checked} |"
    )
