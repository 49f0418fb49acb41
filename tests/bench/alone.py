"""One row alone on an idle server: how much longer than the runtime's own step it takes.

By the server's own clocks: what the front counts from a request's headers to the end of its answer,
less what the engine counts for the batch; and by the client's, which has the way there and back in
it too, as a bare echo on the same loopback shows.
"""

from __future__ import annotations

import asyncio
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from export.bundle import read_bundle
from tests.bench.connection import connect, post
from tests.bench.load import CHECKED_ANSWERS
from tests.bench.reference import Reference
from tests.service.serving import Server, served

TURNS = 9
WHOLE, STEP = "ntm_http_request_seconds", "ntm_step_seconds"
ROUTE = 'route="/v1/sessions/{session_id}/steps"'


def report(entry: Path, seconds: float) -> None:
    """Print the table: medians of the turns, in microseconds. seconds: of all of them."""
    bundle = read_bundle(entry / "bundle")
    reference = Reference(bundle)
    with tempfile.TemporaryDirectory() as folder:
        with served(Path(folder), bundle.folder) as server:
            lines = asyncio.run(_lines(server, reference, seconds / TURNS))
    echo = _echo(seconds / TURNS)
    client, whole, step = np.median(lines, axis=0)
    beyond = np.percentile([line[1] - line[2] for line in lines], [0, 50, 100])
    print("\n| one row alone, us | median of the turns |\n|---|---|")
    print(f"| from the client's write to its answer, p50 | {client:.0f} |")
    print(f"| a bare echo over the loopback, p50 | {echo:.0f} |")
    print(f"| in the server, mean | {whole:.0f} |\n| the runtime's step, mean | {step:.0f} |")
    least, median, most = beyond
    print(f"| front and engine beyond it | {median:.0f} (of the turns {least:.0f} to {most:.0f}) |")


async def _lines(
    server: Server, reference: Reference, seconds: float
) -> list[tuple[float, float, float]]:
    connection, row = await connect(server.url), reference.inputs(0, 1)
    bodies: list[bytes] = []
    with server.client() as client:
        made = (
            client.post(f"/v1/models/{reference.model}/sessions", json={}).raise_for_status().json()
        )
        request = post(f"/v1/sessions/{made['id']}/steps", {"inputs": row})
        lines: list[tuple[float, float, float]] = []
        for _ in range(TURNS + 1):  # the first warms up
            before, took = _counted(client.get("/metrics").text), []
            until = time.perf_counter() + seconds
            while time.perf_counter() < until:
                begun = time.perf_counter()
                status, body = await connection.send(request)
                took.append(time.perf_counter() - begun)
                assert status == 200
                if len(bodies) < CHECKED_ANSWERS:
                    bodies.append(body)
            after = _counted(client.get("/metrics").text)
            means = [
                1e6 * (b[0] - a[0]) / (b[1] - a[1]) for a, b in zip(before, after, strict=True)
            ]
            lines.append((1e6 * float(np.median(took)), means[0], means[1]))
    connection.close()
    print(f"\nwrong: {reference.wrong(row, bodies)} of {len(bodies)}")
    return lines[1:]


def _counted(metrics: str) -> list[tuple[float, float]]:
    """Seconds and requests so far, of steps in the front and of batches in the engine."""

    def value(name: str, label: str) -> float:
        found = re.search(rf"^{name}{{[^}}]*{re.escape(label)}[^}}]*}} (\S+)$", metrics, re.M)
        return float(found[1]) if found else 0.0

    pairs = ((WHOLE, ROUTE), (STEP, "model="))
    return [(value(f"{n}_sum", label), value(f"{n}_count", label)) for n, label in pairs]


def _echo(seconds: float) -> float:
    """What the loopback and two sleeping processes' wake-ups take, without any server's work."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_answer, args=(listener.accept,), daemon=True).start()
        with socket.create_connection(listener.getsockname()) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            took: list[float] = []
            until = time.perf_counter() + seconds
            while time.perf_counter() < until:
                begun = time.perf_counter()
                client.sendall(b"x" * 300)
                client.recv(4096)
                took.append(time.perf_counter() - begun)
    return 1e6 * float(np.median(took))


def _answer(accept: Callable[[], tuple[socket.socket, object]]) -> None:
    connection, _ = accept()
    with connection:
        while data := connection.recv(4096):
            connection.sendall(data)
