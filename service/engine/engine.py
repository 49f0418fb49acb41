"""The engine: calls in, one answer each. Owns the sessions, the hosts and the store.

    call -> session -> job -> scheduler -> tick (one batch) -> commit -> reply

Everything runs in one event loop. A step is acknowledged only when the store has it, and a
session's next job starts only then, so nothing runs on a state that could still be lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from time import monotonic
from typing import Any

from service.engine.commit import change_of, result_of, session_of
from service.engine.host import Host
from service.engine.job import Job, Ticket, make_job
from service.engine.lifecycle import Lifecycle
from service.engine.metrics import EngineMetrics
from service.engine.refused import key_reused
from service.engine.scheduler import Full
from service.engine.sessions import Session
from service.errors import (
    ClientGone,
    CommitUnknown,
    DeadlineExceeded,
    Draining,
    Internal,
    NtmError,
    QueueFull,
)
from service.messages import (
    Call,
    Create,
    Delete,
    Describe,
    Health,
    HealthInfo,
    ListModels,
    ListSessions,
    Memory,
    Metrics,
    Predict,
    PredictResult,
    Request,
    Steps,
)
from service.settings import Settings
from service.store.store import Change, Committed, Gone, Outcome, Store

log = logging.getLogger("ntm.engine")
DEADLINES_S = 0.05  # how often they are looked at while jobs wait
SWEEP_S = 1.0


class Engine:
    """All hosts behind one stream of calls. Lives in one event loop."""

    def __init__(self, settings: Settings, store: Store, metrics: EngineMetrics) -> None:
        self.settings, self.store, self.metrics = settings, store, metrics
        self.life = Lifecycle(settings, store, metrics)
        self.draining = False
        self._jobs: dict[Ticket, Job] = {}
        self._kicked = self._watching = False
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, host: Host) -> None:
        """Serve one more model."""
        manifest = host.manifest
        self.life.hosts[manifest.name, manifest.version] = host
        backend = host.runtime.backend
        self.metrics.models.labels(
            manifest.name, manifest.version, manifest.family, backend.name, backend.device
        ).set(1)

    def handle(self, call: Call, ticket: Ticket) -> None:
        """Begin a call. Its ticket is answered once, now or later."""
        try:
            if self.draining:
                raise Draining("the server is stopping")
            match call.request:
                case Steps() as request:
                    session = self.life.held(request.tenant, request.session)
                    if session is None:
                        self._spawn(self._open_and_step(request, call.timeout_s, ticket), ticket)
                    else:
                        self._step(request, session, call.timeout_s, ticket)
                case Predict() as request:
                    host = self.life.host(request.model, request.version)
                    self._admit(make_job(request, None, host, call.timeout_s), host, ticket)
                case None:
                    raise Internal("a call without a request")
                case request:
                    self._spawn(self._answer(request, ticket), ticket)
        except NtmError as error:
            ticket.fail(error)

    def cancel(self, ticket: Ticket) -> None:
        """The client has gone: give its job up, unless others wait for it or it is committing."""
        job = self._jobs.pop(ticket, None)
        if job is None or job.committing:
            return
        job.tickets.remove(ticket)
        if not job.tickets:
            job.host.give_up(job, ClientGone("the client went away"))
            self._kick()

    async def drain(self) -> None:
        """Refuse new calls, and return when those taken in are answered."""
        self.draining = True
        while self._jobs or self._tasks:
            await asyncio.sleep(0.005)

    async def sweep(self) -> None:
        """End idle sessions past their TTL, for as long as the loop runs."""
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self.life.sweep()
            except Exception:
                log.exception("a sweep failed")

    async def _answer(self, request: Request, ticket: Ticket) -> None:
        match request:
            case ListModels():
                ticket.reply([host.info for host in self.life.hosts.values()])
            case Health():
                ready = bool(self.life.hosts)
                ticket.reply(HealthInfo(ready, "" if ready else "no model is loaded"))
            case Metrics():
                ticket.reply(await self.life.metrics_text())
            case Create():
                ticket.reply(await self.life.create(request))
            case Describe():
                ticket.reply((await self.life.open(request.tenant, request.session)).info())
            case ListSessions():
                ticket.reply(await self.life.page(request))
            case Memory():
                ticket.reply(await self.life.memory(request))
            case Delete():
                await self.life.delete(request)
                ticket.reply(None)
            case _:
                raise TypeError(f"{type(request).__name__} is no cold call")

    async def _open_and_step(self, request: Steps, timeout_s: float, ticket: Ticket) -> None:
        session = await self.life.open(request.tenant, request.session)
        self._step(request, session, timeout_s, ticket)

    def _step(self, request: Steps, session: Session, timeout_s: float, ticket: Ticket) -> None:
        guard = request.guard
        if guard.key is not None:
            record, running = session.replies.get(guard.key), session.inflight.get(guard.key)
            before = record or (running and running.guard)
            if before and before.fingerprint != guard.fingerprint:
                raise key_reused(guard.key)
            if record:
                return ticket.reply(result_of(session, record, replayed=True))
            if running:
                running.tickets.append(ticket)
                self._jobs[ticket] = running
                return None
        job = make_job(request, session, session.host, timeout_s)
        self._admit(job, session.host, ticket)
        session.jobs.add(job)
        if guard.key is not None:
            session.inflight[guard.key] = job
        return None

    def _admit(self, job: Job, host: Host, ticket: Ticket) -> None:
        try:
            host.scheduler.admit(job)
        except Full:
            full = host.scheduler.max_queue
            raise QueueFull(f"{full} requests wait already: the most allowed") from None
        job.tickets.append(ticket)
        self._jobs[ticket] = job
        self._kick()
        self._watch()

    def _kick(self) -> None:
        if not self._kicked:
            self._kicked = True
            asyncio.get_running_loop().call_soon(self._tick)

    def _tick(self) -> None:
        """One batch of each model that has work; the loop reads new calls between two ticks."""
        self._kicked = False
        for host in self.life.hosts.values():
            if not host.scheduler.ready:
                continue
            ran, finished = host.tick()
            for job in finished:
                job.committing = True
            if finished:
                self._background(self._commit(host, finished))
            if ran and host.scheduler.ready:
                self._kick()

    async def _commit(self, host: Host, jobs: list[Job]) -> None:
        steps = [job for job in jobs if job.session is not None]
        for job in jobs:
            if job.session is None:
                host.release(job)
                output = job.output()
                self._done(job, PredictResult(output.tobytes(), output.shape))
        if steps:
            begun = monotonic()
            changes = [change_of(job, self.settings.checkpoint_rows) for job in steps]
            outcomes = await self._store(steps, changes)
            self.metrics.commit_seconds.observe(monotonic() - begun)
            for job, change, outcome in zip(steps, changes, outcomes, strict=False):
                self._settle(job, change, outcome)
        self._kick()

    async def _store(self, jobs: list[Job], changes: list[Change]) -> list[Outcome]:
        try:
            return await self.store.commit(changes)
        except Exception:
            # Whether the store has it cannot be known here: a retry with the key finds out.
            log.exception("a commit failed")
            for job in jobs:
                tickets = list(job.tickets)
                job.host.give_up(job, CommitUnknown("the commit's outcome is unknown"))
                for ticket in tickets:
                    self._jobs.pop(ticket, None)
                self.life.forget(session_of(job))
            return []

    def _done(self, job: Job, result: Any) -> None:
        for ticket in job.tickets:
            self._jobs.pop(ticket, None)
            ticket.reply(result)
        job.tickets.clear()

    def _watch(self) -> None:
        if not self._watching:
            self._watching = True
            asyncio.get_running_loop().call_later(DEADLINES_S, self._deadlines)

    def _deadlines(self) -> None:
        """Give up what is past its deadline. A job that is committing gets its true outcome."""
        self._watching = False
        now = monotonic()
        for job in {job for job in self._jobs.values() if job.deadline <= now}:
            if not job.committing:
                tickets = list(job.tickets)
                job.host.give_up(job, DeadlineExceeded("not done within its deadline"))
                for ticket in tickets:
                    self._jobs.pop(ticket, None)
                self._kick()
        if self._jobs:
            self._watch()

    def _settle(self, job: Job, change: Change, outcome: Outcome) -> None:
        """Tell a step's true outcome; where it was committed, its state is now the session's."""
        session = session_of(job)
        match outcome:
            case Committed() if change.record is not None:
                job.host.commit(job)
                session.row = change.row
                session.remember(change.record)
                session.unsaved = 0 if change.checkpoint else session.unsaved + len(job.rows)
                trace = job.trace_arrays() if job.trace else None
                self._done(job, result_of(session, change.record, trace))
            case Gone():
                job.committing = False
                self.life.drop(session.row.key, outcome.reason or "deleted")
            case _:
                self._run_anew(session)

    def _run_anew(self, session: Session) -> None:
        """The store is ahead of this engine: forget the session and take its steps in again,
        which looks each one's key up and holds each one's If-Match against what is stored."""
        jobs = list(session.jobs)
        self.life.forget(session)
        for job in jobs:
            left = job.deadline - monotonic()
            tickets = list(job.tickets)
            job.host.release(job)
            for ticket in tickets:
                self._jobs.pop(ticket, None)
                if isinstance(job.request, Steps):
                    self._spawn(self._open_and_step(job.request, left, ticket), ticket)

    def _spawn(self, work: Coroutine[Any, Any, None], ticket: Ticket) -> None:
        self._background(self._guarded(work, ticket))

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None], ticket: Ticket) -> None:
        try:
            await work
        except NtmError as error:
            ticket.fail(error)
        except Exception as error:  # a defect costs its caller, nobody else
            log.exception("a call failed")
            ticket.fail(Internal(f"the call failed: {type(error).__name__}"))
