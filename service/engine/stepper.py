"""Steps and predictions: from their call to a job, and batch by batch through the hosts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from time import monotonic
from typing import Any

from service.engine.commit import result_of
from service.engine.host import Host
from service.engine.hosts import named
from service.engine.job import Job, Ticket, make_job
from service.engine.lifecycle import Lifecycle
from service.engine.metrics import EngineMetrics
from service.engine.refused import key_reused, mismatch
from service.engine.scheduler import Full, TenantFull
from service.engine.sessions import Session
from service.engine.settlement import settle
from service.engine.tasks import Tasks, at_once
from service.engine.ticker import NOBODYS, Ticker
from service.errors import ClientGone, DeadlineExceeded, QueueFull
from service.requests import Predict, Steps
from service.settings import Settings
from service.store.store import Change, Store

log = logging.getLogger("ntm.engine")
LATE_S = 0.005  # after a deadline, so that those that are close together go together


class Stepper:
    """The jobs under way. `life`: the sessions they are of."""

    def __init__(
        self, settings: Settings, store: Store, metrics: EngineMetrics, tasks: Tasks
    ) -> None:
        self.life = Lifecycle(settings, store, metrics, self._run_anew)
        self._tasks = tasks
        self.opening: set[Ticket] = set()  # of steps whose session is being loaded
        self.ticker = Ticker(self._tick)
        self._alarm: asyncio.TimerHandle | None = None  # when deadlines are looked at next
        self._alarm_at = 0.0

    @property
    def busy(self) -> bool:
        """Is any job under way?"""
        return any(host.scheduler.admitted for host in self.life.hosts.values())

    def step(self, request: Steps, timeout_s: float, ticket: Ticket) -> None:
        """Run rows through a session, which is loaded first where it is not held. Raises
        NtmError, or tells the ticket later."""
        session = self.life.held(request.tenant, request.session)
        if session is None:
            self._open(request, timeout_s, ticket)
        else:
            self.run(request, session, timeout_s, ticket)

    def run(
        self, request: Steps, session: Session, timeout_s: float, ticket: Ticket,
        before: Sequence[Change] = (),
    ) -> None:  # fmt: skip
        """Run rows through a session that is held, or that `before` begins when they are done.
        Raises NtmError."""
        guard = request.guard
        if guard.key is not None:
            record, running = session.replies.get(guard.key), session.inflight.get(guard.key)
            known = record or (running and running.guard)
            if known and known.fingerprint != guard.fingerprint:
                raise key_reused(guard.key)
            if record:
                return ticket.reply(result_of(session, record, replayed=True))
            if running:
                return running.join(ticket)
        most = self.life.settings.max_reply_bytes
        job = make_job(request, session, session.host, timeout_s, most)
        job.before = before
        self._admit(job, ticket)
        session.jobs[job] = None
        if guard.key is not None:
            session.inflight[guard.key] = job
        return None

    def predict(self, request: Predict, timeout_s: float, ticket: Ticket) -> None:
        """Run rows from the initial state. Raises NtmError."""
        host = named(self.life.hosts, request.model, request.version)
        self._admit(make_job(request, None, host, timeout_s), ticket)

    def cancel(self, ticket: Ticket) -> None:
        """The client has gone: give its job up, unless others wait for it or it is committing."""
        job = ticket.job
        if job is None:
            self.opening.discard(ticket)
        elif not job.ended and not job.committing:
            error = ClientGone("the client went away")
            job.tickets.remove(ticket)
            ticket.fail(error)
            if not job.tickets:
                job.host.give_up(job, error)
                self.ticker.kick()

    def verify(self, job: Job) -> None:
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
                if job.before:
                    ticket.reply(None)  # the one who begins a session looks at the store himself
                elif isinstance(job.request, Steps):
                    self._open(job.request, job.deadline - monotonic(), ticket)

    def _open(self, request: Steps, timeout_s: float, ticket: Ticket, fresh: bool = False) -> None:
        self.opening.add(ticket)
        work = self._open_and_step(request, monotonic() + timeout_s, ticket, fresh)
        self._tasks.begin_for(ticket, work)

    async def _open_and_step(
        self, request: Steps, deadline: float, ticket: Ticket, fresh: bool
    ) -> None:
        want = request.guard.if_match
        try:
            session = await self.life.open(request.tenant, request.session, fresh)
            if ticket not in self.opening:
                raise ClientGone("the client went away")
        finally:
            self.opening.discard(ticket)
        left = deadline - monotonic()
        if left <= 0:
            raise DeadlineExceeded("not done within its deadline")
        known = request.guard.key in session.replies or session.jobs
        if fresh and want is not None and not session.holds(want) and not known:
            raise mismatch(want, session)
        self.run(request, session, left, ticket)

    def _admit(self, job: Job, ticket: Ticket) -> None:
        scheduler = job.host.scheduler
        try:
            scheduler.admit(job)
        except Full as full:
            whose = " of the tenant" if isinstance(full, TenantFull) else ""
            raise QueueFull(f"{full.most} requests{whose} wait already: the most allowed") from None
        job.join(ticket)
        if job.host.tracer is not None:
            job.phases = job.host.tracer.admitted(job, ticket.trace)
        self.ticker.kick()
        self._watch(job.deadline)

    def _tick(self) -> None:
        """One batch of each model that has work; the loop reads new calls between two ticks."""
        for host in self.life.hosts.values():
            if host.scheduler.ready:
                try:
                    self._run(host)
                except Exception:  # a defect must not cost other models their tick
                    log.exception("a tick of %s failed", host.manifest.name)

    def _run(self, host: Host) -> None:
        ran, finished = host.tick()
        for job in finished:
            job.committing = True
        try:
            if finished:
                self._settle(host, finished)
            host.counts.tell()
        finally:
            if ran and host.scheduler.ready:
                self.ticker.kick()

    def _settle(self, host: Host, finished: list[Job]) -> None:
        work = settle(self.life, host, finished)
        if self.life.store.instant:
            at_once(work)
        else:
            self._tasks.begin(self._settle_later(work))

    async def _settle_later(self, work: Coroutine[Any, Any, None]) -> None:
        await work
        self.ticker.kick()

    def _watch(self, deadline: float) -> None:
        """Look at the deadlines when this one has come, if not before."""
        if self._alarm is not None:
            if self._alarm_at <= deadline:
                return
            self._alarm.cancel()
        self._alarm_at = deadline
        loop, wait_s = asyncio.get_running_loop(), max(0.0, deadline - monotonic())
        self._alarm = loop.call_later(wait_s + LATE_S, self._deadlines, context=NOBODYS)

    def _deadlines(self) -> None:
        """Give up what is past its deadline. A job that is committing gets its true outcome."""
        self._alarm = None
        now = monotonic()
        hosts = list(self.life.hosts.values())
        waiting = [job for h in hosts for job in h.scheduler.waiting() if not job.committing]
        late = [job for job in waiting if job.deadline <= now]
        if len(late) < len(waiting):
            self._watch(min(job.deadline for job in waiting if job.deadline > now))
        for job in late:
            job.host.give_up(job, DeadlineExceeded("not done within its deadline"))
            self.ticker.kick()
