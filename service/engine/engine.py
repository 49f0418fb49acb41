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

from service.engine import catalog, mutations
from service.engine.commit import change_of, result_of, session_of
from service.engine.host import Host
from service.engine.job import Job, Ticket, make_job
from service.engine.lifecycle import Lifecycle
from service.engine.metrics import EngineMetrics
from service.engine.refused import key_reused, mismatch
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
    StoreAway,
)
from service.messages import (
    Call,
    Create,
    Delete,
    Describe,
    Fork,
    Health,
    HealthInfo,
    History,
    Import,
    ListModels,
    ListSessions,
    ListSnapshots,
    Memory,
    Metrics,
    Migrate,
    ModelInfo,
    Predict,
    PredictResult,
    Reload,
    Request,
    Reset,
    Restore,
    Snapshot,
    Steps,
    Unload,
)
from service.settings import Settings
from service.store.store import (
    Change,
    Committed,
    Damaged,
    Gone,
    Outcome,
    Record,
    Replayed,
    Stale,
    Store,
    StoreUnavailable,
)

log = logging.getLogger("ntm.engine")
DEADLINES_S = 0.05  # how often they are looked at while jobs wait
SWEEP_S = 1.0


class Engine:
    """All hosts behind one stream of calls. Lives in one event loop."""

    def __init__(self, settings: Settings, store: Store, metrics: EngineMetrics) -> None:
        self.settings, self.store, self.metrics = settings, store, metrics
        self.life = Lifecycle(settings, store, metrics, self._run_anew)
        self.draining = False
        self._jobs: set[Job] = set()
        self._opening: set[Ticket] = set()  # of steps whose session is being loaded
        self._kicked = self._watching = False
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, host: Host) -> None:
        """Serve one more model."""
        manifest = host.manifest
        self.life.hosts[manifest.name, manifest.version] = host
        host.verify = self._verify if self.store.shared else None
        backend = host.runtime.backend
        self.metrics.models.labels(
            manifest.name, manifest.version, manifest.family, backend.name, backend.device
        ).set(1)

    async def reload(self) -> list[ModelInfo]:
        """Serve the bundles that are new under NTM_MODELS too. Raises NtmError."""
        added: list[ModelInfo] = []
        for host in await catalog.find_new(self.life):
            # Another reload may have brought the same meanwhile.
            if (host.manifest.name, host.manifest.version) not in self.life.hosts:
                self.add(host)
                added.append(host.info)
        return added

    def reload_soon(self) -> None:
        """Reload on a signal, which has nobody to answer: what goes wrong is logged."""
        self._background(self._reload_logged())

    async def _reload_logged(self) -> None:
        try:
            log.info("reload: %d new models", len(await self.reload()))
        except NtmError as error:
            log.error("reload: %s", error)

    def handle(self, call: Call, ticket: Ticket) -> None:
        """Begin a call. Its ticket is answered once, now or later."""
        try:
            if self.draining:
                raise Draining("the server is stopping")
            match call.request:
                case Steps() as request:
                    session = self.life.held(request.tenant, request.session)
                    if session is None:
                        self._open(request, call.timeout_s, ticket)
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
        except Exception as error:  # a defect costs its caller, nobody else
            log.exception("a call failed")
            ticket.fail(Internal(f"the call failed: {type(error).__name__}"))

    def cancel(self, ticket: Ticket) -> None:
        """The client has gone: give its job up, unless others wait for it or it is committing."""
        job = ticket.job
        if job is None:
            self._opening.discard(ticket)
        elif not job.ended and not job.committing:
            error = ClientGone("the client went away")
            job.tickets.remove(ticket)
            ticket.fail(error)
            if not job.tickets:
                job.host.give_up(job, error)
                self._kick()

    async def drain(self) -> None:
        """Refuse new calls, and return when those taken in are answered."""
        self.draining = True
        while self._tasks or not all(job.ended for job in self._jobs):
            await asyncio.sleep(0.005)

    async def sweep(self) -> None:
        """End idle sessions past their TTL, for as long as the loop runs."""
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self.life.sweep()
                await self.life.spill(self.settings.host_state_bytes)
            except StoreUnavailable as error:
                log.warning("the store is away: %s", error)
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
                await self.life.update_gauges()
                ticket.reply(self.metrics.text())
            case Create():
                ticket.reply(await self.life.create(request))
            case Describe():
                session = await self.life.open(request.tenant, request.session, fresh=True)
                ticket.reply(session.info())
            case ListSessions():
                ticket.reply(await self.life.page(request))
            case Memory():
                ticket.reply(await self.life.memory(request))
            case Delete():
                await self.life.delete(request)
                ticket.reply(None)
            case Reset():
                ticket.reply(await mutations.reset(self.life, request))
            case Restore():
                ticket.reply(await mutations.restore(self.life, request))
            case Import():
                ticket.reply(await mutations.import_state(self.life, request))
            case Migrate():
                ticket.reply(await mutations.migrate(self.life, request))
            case Fork():
                ticket.reply(await mutations.fork(self.life, request))
            case Snapshot():
                ticket.reply(await mutations.snapshot(self.life, request))
            case ListSnapshots():
                found = await mutations.snapshots(self.life, request.tenant, request.session)
                ticket.reply(found)
            case Reload():
                ticket.reply(await self.reload())
            case Unload():
                await catalog.unload(self.life, request)
                ticket.reply(None)
            case History():
                ticket.reply(await self.life.history(request))
            case _:
                raise TypeError(f"{type(request).__name__} is no cold call")

    def _open(self, request: Steps, timeout_s: float, ticket: Ticket, fresh: bool = False) -> None:
        self._opening.add(ticket)
        work = self._open_and_step(request, monotonic() + timeout_s, ticket, fresh)
        self._spawn(work, ticket)

    async def _open_and_step(
        self, request: Steps, deadline: float, ticket: Ticket, fresh: bool
    ) -> None:
        want = request.guard.if_match
        try:
            session = await self.life.open(request.tenant, request.session, fresh)
            if ticket not in self._opening:
                raise ClientGone("the client went away")
        finally:
            self._opening.discard(ticket)
        left = deadline - monotonic()
        if left <= 0:
            raise DeadlineExceeded("not done within its deadline")
        known = request.guard.key in session.replies or session.jobs
        if fresh and want is not None and want != session.etag and not known:
            raise mismatch(want, session.etag, session.row.step, session.row.revision)
        self._step(request, session, left, ticket)

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
                return running.join(ticket)
        most = self.settings.max_reply_bytes
        job = make_job(request, session, session.host, timeout_s, most)
        self._admit(job, session.host, ticket)
        session.jobs[job] = None
        if guard.key is not None:
            session.inflight[guard.key] = job
        return None

    def _admit(self, job: Job, host: Host, ticket: Ticket) -> None:
        try:
            host.scheduler.admit(job)
        except Full:
            full = host.scheduler.max_queue
            raise QueueFull(f"{full} requests wait already: the most allowed") from None
        job.join(ticket)
        self._jobs.add(job)
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
        try:
            if steps:
                await self._store(steps)
        except StoreUnavailable as error:
            log.warning("the store is away: %s", error)
            self._lose(steps, _unknown() if error.sent else StoreAway(str(error)))
        except Exception:
            log.exception("a commit failed")
            self._lose(steps, _unknown())
        self._kick()

    async def _store(self, jobs: list[Job]) -> None:
        begun = monotonic()
        changes = [change_of(job, self.settings.checkpoint_rows) for job in jobs]
        outcomes = await self.store.commit(changes)
        self.metrics.commit_seconds.observe(monotonic() - begun)
        for job, change, outcome in zip(jobs, changes, outcomes, strict=True):
            self._settle(job, change, outcome)

    def _lose(self, jobs: list[Job], error: NtmError) -> None:
        """These were not committed, or nobody knows. Their sessions' others look at the store."""
        for job in jobs:
            if job.ended:
                job.fail(error)
            else:
                job.host.give_up(job, error)
                self._run_anew(session_of(job))

    def _done(self, job: Job, result: Any) -> None:
        self._jobs.discard(job)
        job.reply(result)

    def _watch(self) -> None:
        if not self._watching:
            self._watching = True
            asyncio.get_running_loop().call_later(DEADLINES_S, self._deadlines)

    def _deadlines(self) -> None:
        """Give up what is past its deadline. A job that is committing gets its true outcome."""
        self._watching = False
        now = monotonic()
        self._jobs = {job for job in self._jobs if not job.ended}
        for job in [job for job in self._jobs if job.deadline <= now and not job.committing]:
            job.host.give_up(job, DeadlineExceeded("not done within its deadline"))
            self._kick()
        if self._jobs:
            self._watch()

    def _settle(self, job: Job, change: Change, outcome: Outcome) -> None:
        """Tell a step's true outcome; where it was committed, its state is now the session's."""
        session, job.committing = session_of(job), False
        match outcome:
            case Committed() if change.record is not None:
                if not self.life.is_held(session):
                    return self._done_elsewhere(job, session, change.record)
                job.host.commit(job)
                session.row = change.row
                session.remember(change.record)
                session.unsaved = 0 if change.checkpoint else session.unsaved + len(job.rows)
                trace = job.trace_arrays() if job.trace else None
                self._done(job, result_of(session, change.record, trace))
            case Gone() | Damaged():
                error = self.life.refusal(session.row.id, outcome)
                job.host.give_up(job, error)
                self.life.drop(session, error)
            case Stale(row):
                self.metrics.conflicts.inc()
                self.life.moved_on(session, row)
                self._run_anew(session)
            case Replayed(record):
                self._repeat(job, session, record)
                self._run_anew(session)
            case _:
                raise TypeError(f"{type(outcome).__name__} is no outcome of a step")

    def _repeat(self, job: Job, session: Session, record: Record) -> None:
        """The store knows the key from before: that was the reply. Nothing was written."""
        job.host.release(job)
        if record.fingerprint != job.guard.fingerprint:
            job.fail(key_reused(job.guard.key))
        else:
            self._done(job, result_of(session, record, replayed=True))

    def _done_elsewhere(self, job: Job, session: Session, record: Record) -> None:
        """The step is committed; what was held of its session has been let go of meanwhile."""
        job.host.release(job)
        trace = job.trace_arrays() if job.trace else None
        self._done(job, result_of(session, record, trace))

    def _verify(self, job: Job) -> None:
        """The job's If-Match fails on what is held here, which another server may have moved."""
        job.host.release(job)
        for ticket in job.leave():
            if isinstance(job.request, Steps):
                self._open(job.request, job.deadline - monotonic(), ticket, fresh=True)

    def _run_anew(self, session: Session) -> None:
        """The store is ahead of this engine: forget the session and take its steps in again,
        which looks each one's key up and holds each one's If-Match against what is stored."""
        jobs = [job for job in session.jobs if not job.committing]
        self.life.forget(session)
        for job in jobs:
            job.host.release(job)
            for ticket in job.leave():
                if isinstance(job.request, Steps):
                    self._open(job.request, job.deadline - monotonic(), ticket)

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
        except StoreUnavailable as error:
            said = f"{error}: retry with the key" if error.sent else str(error)
            ticket.fail(CommitUnknown(said) if error.sent else StoreAway(said))
        except Exception as error:  # a defect costs its caller, nobody else
            log.exception("a call failed")
            ticket.fail(Internal(f"the call failed: {type(error).__name__}"))


def _unknown() -> CommitUnknown:
    # Whether the store has it cannot be known here: a retry with the key finds out.
    return CommitUnknown("the commit's outcome is unknown: repeat it with the same key")
