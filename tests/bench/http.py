"""The whole path, front and engine, with sessions in memory, by protocol, clients and rows."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import numpy as np
import uvloop

from export.bundle import read_bundle
from tests.bench.load import begun
from tests.bench.peers.load import Load
from tests.bench.peers.ours import running
from tests.bench.peers.processes import cpu_ms, resident_mb
from tests.bench.peers.sessions import Sessions
from tests.bench.peers.started import HOST, Running
from tests.bench.peers.wires import inputs_of
from tests.bench.reference import Reference
from tests.service.serving import served

ORIGIN = "Origin: http://localhost\r\n"  # its own, which makes a step the app's
TURNS = 9
CLIENTS = (1, 8, 64, 256)
ROWS = (1, 20)
PROTOCOLS = {
    "json": "JSON", "msgpack": "MessagePack", "binary": "V2 binary",
    "socket": "WebSocket, JSON", "packed": "WebSocket, MessagePack",
}  # fmt: skip


def report(entry: Path, seconds: float) -> None:
    """Print the tables. seconds: of each line."""
    bundle = read_bundle(entry / "bundle")
    reference = Reference(bundle)
    print(
        "\n| protocol | clients | rows a request | requests/s | rows/s | p50 ms | p99 ms | "
        "server CPU ms a request | wrong |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for protocol in PROTOCOLS:
        with tempfile.TemporaryDirectory() as folder:
            with running(Path(folder), bundle, {}, protocol) as server:
                for clients in CLIENTS:
                    for rows in ROWS:
                        line = _line(protocol, server, reference, clients, rows, seconds)
                        print(uvloop.run(line), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        with served(Path(folder), bundle.folder) as server:
            took, size = time.monotonic() - started, resident_mb(server.process.pid)
            print(f"\nready {took:.1f} s after its start; {size:.0f} MB resident, all processes")
            print(asyncio.run(_ways(server.url, reference, seconds / TURNS)), flush=True)


async def _line(
    protocol: str, server: Running, reference: Reference, clients: int, rows: int, seconds: float
) -> str:
    inputs = inputs_of(reference, clients, rows)
    wire = await asyncio.to_thread(server.wire_of, inputs)  # which has a loop of its own
    sessions = Sessions(wire, inputs, server.tolerance)
    load = Load(sessions, (HOST, server.port), clients)
    await load.round()
    used = cpu_ms(server.pid)
    turn = await load.closed(seconds)
    used = (cpu_ms(server.pid) - used) / len(turn.latencies)
    p50, p99 = np.percentile(turn.latencies, [50, 99])
    return (
        f"| {PROTOCOLS[protocol]} | {clients} | {rows} | {turn.rate:,.0f} | "
        f"{turn.rate * rows:,.0f} | {p50:.2f} | {p99:.2f} | {used:.3f} | "
        f"{sessions.failed + sessions.wrong(reference)} of {sessions.checked:,} |"
    )


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
