"""A cold session, in process: from the store to where it can be stepped, and its first step.

Cold means that the engine holds nothing of it; the store's file is in the kernel's cache. The
session's checkpoint is read, its checksum verified, and what was done since is run again.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from export.bundle import Bundle
from service.engine.engine import Engine
from service.engine.metrics import EngineMetrics
from service.engine.models import load_host
from service.errors import NtmError
from service.messages import Call
from service.requests import Create, Guard, Request, Steps
from service.settings import Settings
from service.store.open import open_store
from tests.bench.load import percentiles
from tests.service.store.redis_server import running

SESSIONS = 400
TENANT = "bench"
SINCE = (0, 7)  # rows since the checkpoint; at the 8th there is the next
STORES = ("memory", "sqlite", "redis")


class Answer:
    """A ticket that is waited for."""

    def __init__(self) -> None:
        self.job: Any = None
        self.request_id = self.trace = ""
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def reply(self, result: Any) -> None:
        """See `Ticket`."""
        self.future.set_result(result)

    def fail(self, error: NtmError) -> None:
        """See `Ticket`."""
        self.future.set_exception(error)


def report(bundle: Bundle) -> None:
    """Print the table."""
    print(
        "\n| cold session | rows since | back p50 ms | p99 ms | of the processor p50 ms | "
        "with its step p50 ms | p99 ms |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        urls = {"memory": "memory", "sqlite": f"sqlite://{folder}/sessions.db"}
        urls["redis"] = stack.enter_context(running(Path(folder) / "redis")).url
        for name in STORES:
            asyncio.run(_report(bundle, name, Settings(store=urls[name])))


async def _report(bundle: Bundle, name: str, settings: Settings) -> None:
    store, metrics = await open_store(settings), EngineMetrics()
    engine = Engine(settings, store, metrics)
    engine.add(load_host(bundle, settings, metrics))
    for since in SINCE:
        names = [f"{since}-{number}" for number in range(SESSIONS)]
        for each in names:
            await _ready(engine, bundle, each, settings.checkpoint_rows, since)
        back, used, stepped = await _timed(engine, bundle, names, since)
        values = (*percentiles(back), percentiles(used)[0], *percentiles(stepped))
        cells = [f"{value:.2f}" for value in values]
        print(f"| {name} | {since} | {' | '.join(cells)} |", flush=True)
    await store.close()


async def _ready(engine: Engine, bundle: Bundle, name: str, rows: int, since: int) -> None:
    """A session with a checkpoint and as many rows since."""
    await _ask(engine, Create(TENANT, bundle.manifest.name, None, name, None, None, Guard()))
    for count in (rows, *[1] * since):
        await _ask(engine, _steps(bundle, name, count))


async def _timed(
    engine: Engine, bundle: Bundle, names: list[str], since: int
) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds until each is back, those of them that this process ran, which other work on
    the machine hardly changes, and those until its first step is answered."""
    back: list[float] = []
    used: list[float] = []
    stepped: list[float] = []
    for name in names:
        await _evict(engine, name)
        begun, ran = time.monotonic(), time.process_time()
        session = await engine.life.open(TENANT, name)
        back.append((time.monotonic() - begun) * 1e3)
        used.append((time.process_time() - ran) * 1e3)
        assert session.unsaved == since, (session.unsaved, since)
        await _evict(engine, name)
        begun = time.monotonic()
        await _ask(engine, _steps(bundle, name, 1))
        stepped.append((time.monotonic() - begun) * 1e3)
    return back, used, stepped


async def _evict(engine: Engine, name: str) -> None:
    session = engine.life.held(TENANT, name)
    if session is not None:
        engine.life.forget(session)


def _steps(bundle: Bundle, name: str, count: int) -> Steps:
    width = bundle.manifest.input.dims[0]
    rows = np.random.default_rng(count).random((count, width), np.float32)
    return Steps(TENANT, name, rows.tobytes(), (count, width), False, Guard())


async def _ask(engine: Engine, request: Request) -> Any:
    answer = Answer()
    engine.handle(Call(1, request, 30.0), answer)
    return await answer.future
