"""Processes killed with SIGKILL, at random and at named points: nothing acknowledged is lost, and
nothing is done twice. CRASH_KILLS says how many at random (50 in CI)."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest

from export.bundle import STEP_ONNX, read_bundle
from service.engine.onnx import OnnxCpu
from service.engine.runtime import Runtime
from service.settings import ZOO
from tests.service.crash.client import Client, Reference
from tests.service.crash.engine import POINTS
from tests.service.serving import Server, environ, until

KILLS = int(os.environ.get("CRASH_KILLS", "8"))
HITS = max(1, KILLS // 10)  # of each point
CLIENTS = 32
ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.crash


@pytest.fixture(scope="module")
def reference() -> Reference:
    bundle = read_bundle(Path(ZOO) / "copy" / "bundle")
    backend = OnnxCpu(bundle.read(STEP_ONNX), bundle.manifest.state, 1)
    initial = list(bundle.initial_state().values())
    return Reference(
        Runtime(backend, bundle.manifest.state, bundle.manifest.input.dims[0], 3, 32, initial)
    )


@contextmanager
def crashing(folder: Path, **settings: str) -> Iterator[Server]:
    """A server whose engine can be armed, with 64 slots so that sessions move between tiers."""
    points = folder / "points"
    points.mkdir()
    port = _free_port()
    known = {
        "NTM_PORT": str(port),
        "NTM_SLOTS": "24",
        "NTM_CHECKPOINT_ROWS": "8",
        "CRASH_POINTS": str(points),
        "PYTHONPATH": str(ROOT),
    }
    log = folder / "server.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.service.crash.serve"],
            env=environ(**(known | settings)),
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
        )
    server = Server(process, log)
    server.url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _ready(server), 90)
        yield server
    finally:
        if process.poll() is None:
            server.stop()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _ready(server: Server) -> bool:
    assert server.process.poll() is None, server.text()
    try:
        return httpx.get(f"{server.url}/health/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@asynccontextmanager
async def living(server: Server, reference: Reference, seen: Counter[str]) -> AsyncIterator[None]:
    """Clients at work; on leaving, each stops and compares its session with the reference."""
    stop = asyncio.Event()
    limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
    async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=20) as http:
        clients = [Client(number, http, reference, seen) for number in range(CLIENTS)]
        tasks = [asyncio.create_task(client.live(stop)) for client in clients]
        try:
            yield
        finally:
            stop.set()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, BaseException):
                raise error


async def _kill_at_random(server: Server, times: int) -> None:
    for _ in range(times):
        module = random.choice(["crash.engine", "service.front"])
        await asyncio.sleep(random.uniform(0.05, 0.4))
        for pid in server.children(module)[:1]:
            os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(until, lambda: _ready(server), 60)


async def _kill_at_points(points: Path) -> None:
    """Arm one point after the other until each has been hit often enough."""
    for point in POINTS:
        hits = points / f"{point}.hits"
        (points / point).write_text("0.02")
        await asyncio.to_thread(until, lambda hits=hits: _lines(hits) >= HITS, 120)
        (points / point).unlink()


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


async def _torment(server: Server, reference: Reference, points: Path) -> Counter[str]:
    seen: Counter[str] = Counter()
    async with living(server, reference, seen):
        await _kill_at_random(server, KILLS)
        await _kill_at_points(points)
        await asyncio.to_thread(until, lambda: _ready(server), 60)
    return seen


def test_sqlite_loses_nothing_and_does_nothing_twice(tmp_path: Path, reference: Reference):
    with crashing(tmp_path, NTM_STORE=f"sqlite://{tmp_path}/sessions.db") as server:
        seen = asyncio.run(_torment(server, reference, tmp_path / "points"))
        print(dict(seen))
        assert seen["replayed"] > 0, seen
        assert seen["mutations"] > CLIENTS, seen
        assert server.stop() == 0


def test_a_store_that_drops_a_commit_is_found_out(tmp_path: Path, reference: Reference):
    settings = {"NTM_STORE": f"sqlite://{tmp_path}/sessions.db", "CRASH_MUTANT": "drop"}
    with crashing(tmp_path, **settings) as server, pytest.raises(AssertionError):

        async def work() -> None:
            async with living(server, reference, Counter()):
                await asyncio.sleep(2)
                await _kill_at_random(server, 2)

        asyncio.run(work())
