"""The engine without sockets: a closed loop of calls in this process, on a store in memory."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from export.bundle import Bundle, read_bundle
from service.engine.engine import Engine
from service.engine.job import Job
from service.engine.metrics import EngineMetrics
from service.engine.models import load_host
from service.errors import NtmError
from service.messages import Call
from service.requests import Create, Guard, Request, Steps
from service.results import SessionInfo, StepsResult
from service.settings import Settings
from service.store.memory import MemoryStore
from tests.bench.reference import Reference

SESSIONS = (1, 8, 64, 256)
ROWS = (1, 20)
TENANT = "bench"
CHECKED = 20  # the first answers of the first session


def report(entry: Path, seconds: float) -> None:
    """Print the table. seconds: of each line."""
    print("\n| sessions | rows a request | requests/s | rows/s | CPU us a row | to raw | wrong |")
    print("|---|---|---|---|---|---|---|")
    bundle = read_bundle(entry / "bundle")
    reference = Reference(bundle)
    for sessions in SESSIONS:
        for rows in ROWS:
            print(uvloop.run(_line(bundle, reference, sessions, rows, seconds)), flush=True)


async def _line(
    bundle: Bundle, reference: Reference, sessions: int, rows: int, seconds: float
) -> str:
    settings, metrics = Settings(slots=1024), EngineMetrics()
    engine = Engine(settings, MemoryStore(), metrics)
    host = load_host(bundle, settings, metrics)
    engine.add(host)
    callers = [Caller(engine, reference.inputs(number, rows)) for number in range(sessions)]
    for caller in callers:
        await caller.create(bundle.manifest.name)
    cpu, begun = time.process_time(), time.monotonic()
    await asyncio.gather(*(caller.run(begun + seconds) for caller in callers))
    cpu, took = time.process_time() - cpu, time.monotonic() - begun
    answers = sum(caller.answered for caller in callers)
    first = callers[0]
    right = reference.answers(first.inputs, len(first.kept))
    wrong = sum(a.tobytes() != b.outputs for a, b in zip(right, first.kept, strict=True))
    us = cpu / (answers * rows) * 1e6
    batch = min(sessions, settings.max_batch)
    raw = _raw_us(host.runtime, batch)
    return (
        f"| {sessions} | {rows} | {answers / took:,.0f} | {answers * rows / took:,.0f} | {us:.1f} |"
        f" {raw / us:.2f} | {wrong} of {len(first.kept)} |"
    )


class Caller:
    """One session's client: a ticket that asks again as soon as it is answered."""

    job: Job | None = None
    request_id = trace = ""

    def __init__(self, engine: Engine, inputs: list[list[float]]) -> None:
        self._engine, self.inputs = engine, inputs
        self.answered, self._end = 0, 0.0
        self.kept: list[StepsResult] = []
        self._done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._request: Request | None = None

    async def create(self, model: str) -> None:
        """Begin the session."""
        self._engine.handle(
            Call(1, Create(TENANT, model, None, None, None, None, Guard()), 30.0), self
        )
        info: SessionInfo = await self._done
        rows = np.array(self.inputs, np.float32)
        self._request = Steps(TENANT, info.id, rows.tobytes(), rows.shape, False, Guard())

    async def run(self, end: float) -> None:
        """Ask until that time."""
        self._end, self._done = end, asyncio.get_running_loop().create_future()
        self._ask()
        await self._done

    def _ask(self) -> None:
        self._engine.handle(Call(1, self._request, 30.0), self)

    def reply(self, result: Any) -> None:
        """See `Ticket`."""
        if not isinstance(result, StepsResult):
            self._done.set_result(result)
            return
        self.answered += 1
        if len(self.kept) < CHECKED:
            self.kept.append(result)
        if time.monotonic() < self._end:
            asyncio.get_running_loop().call_soon(self._ask)
        else:
            self._done.set_result(None)

    def fail(self, error: NtmError) -> None:
        """See `Ticket`."""
        self._done.set_exception(error)


def _raw_us(runtime: Any, batch: int) -> float:
    """Microseconds of processor time a row of the runtime alone."""
    source, target = list(range(1, batch + 1)), list(range(batch + 1, 2 * batch + 1))
    x = np.random.default_rng(0).random((batch, 1, runtime.input_size), np.float32)
    cpu, ticks = time.process_time(), 0
    while time.process_time() - cpu < 0.3:
        runtime.step(source, target, x)
        ticks += 1
    return (time.process_time() - cpu) / (ticks * batch) * 1e6
