"""The sessions that this engine holds, over a store that has them all."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from time import monotonic, time

from service.engine.feeds import Feeds
from service.engine.host import Host
from service.engine.hosts import Hosts, exactly
from service.engine.metrics import EngineMetrics
from service.engine.quotas import Quotas
from service.engine.refused import gone, rolled_back
from service.engine.sessions import Session
from service.errors import NtmError, StateDamaged
from service.settings import Settings
from service.store.store import (
    Change,
    Committed,
    Damaged,
    Gone,
    Outcome,
    Record,
    SessionKey,
    SessionRow,
    Stale,
    Store,
    Stored,
)

log = logging.getLogger("ntm.engine")


class Lifecycle:
    """How sessions are found, loaded, moved and let go of.

    run_anew: takes a session's steps in again, after the store turned out to be ahead.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        metrics: EngineMetrics,
        run_anew: Callable[[Session], None],
    ) -> None:
        self.settings, self.store, self.metrics = settings, store, metrics
        self.hosts: Hosts = {}
        self.quotas = Quotas(settings, store, self.hosts)
        self.feeds = Feeds(store.bell)
        self.run_anew = run_anew
        self._held: OrderedDict[tuple[str, str], Session] = OrderedDict()  # by key; the LRU first
        self._replaying: dict[str, asyncio.Lock] = {}
        self._ahead: dict[SessionKey, tuple[str, int]] = {}  # acknowledged, and lost by the store

    def replaying(self, tenant: str) -> asyncio.Lock:
        """Held while rows of a tenant's are run again for an earlier point of a session."""
        return self._replaying.setdefault(tenant, asyncio.Lock())

    def held(self, tenant: str, name: str) -> Session | None:
        """The session where this engine has it and it has not outlived its TTL."""
        key = (tenant, name)  # equals the SessionKey, which takes as long to make as all the rest
        session = self._held.get(key)
        if session is None or (session.row.expires_at <= time() and not session.jobs):
            return None
        self._held.move_to_end(key)
        return session

    def known(self, key: SessionKey) -> Session | None:
        """The session where this engine has it, also past its TTL."""
        return self._held.get(key)

    def sessions(self) -> list[Session]:
        """All that this engine has, least recently used first."""
        return list(self._held.values())

    async def open(self, tenant: str, name: str, fresh: bool = False) -> Session:
        """The session, loaded where this engine has it not. Raises NtmError.

        fresh: what is held is compared with a shared store first, for reads that must show the
        latest committed revision on every replica.
        """
        key = SessionKey(tenant, name)
        session = self.held(tenant, name)
        if session is not None and fresh and self.store.shared:
            session = await self._compared(session)
        if session is not None:
            return session
        begun = monotonic()
        stored = await self.store.load(key)
        while isinstance(stored, Stored) and stored.row.expires_at <= time():
            ended = await self.end(stored.row, "expired")
            # Where it was stepped meanwhile it lives on.
            stale = isinstance(ended, Stale)
            stored = await self.store.load(key) if stale else Gone("expired")
        if isinstance(stored, Gone | Damaged):
            raise self.refusal(name, stored)
        self._believe(stored.row)
        session = self._held.get(key)
        if session is None:
            session = self.load(stored)
            self.metrics.loaded(session.row.model, monotonic() - begun)
        return session

    async def end(self, row: SessionRow, reason: str) -> Outcome:
        """End a session, unless it stands elsewhere than `row` says: then it goes on."""
        outcome = await self.commit(Change(row, (row.incarnation, row.revision), ended=reason))
        session = self._held.get(row.key)
        if session is not None and not isinstance(outcome, Stale):
            if session.row.incarnation == row.incarnation:
                self.drop(session, gone(row.id, reason))
        if isinstance(outcome, Committed):
            self.metrics.expiries.labels(reason).inc()
        return outcome

    async def commit(self, change: Change) -> Outcome:
        """One change on its own."""
        (outcome,) = await self.commit_all([change])
        return outcome

    async def commit_all(self, changes: Sequence[Change]) -> list[Outcome]:
        """Changes and their outcomes, told to those who watch. Every change goes this way."""
        outcomes = await self.store.commit(changes)
        self.feeds.committed(changes, outcomes)
        return outcomes

    def evicted(self, session: Session, reason: str) -> None:
        """Tell those who watch that a session's state was put off the device or host memory."""
        self.feeds.tell(session.row.key, "evicted", session.row.revision, reason=reason)

    def load(self, stored: Stored) -> Session:
        """Hold a session. Raises ModelNotLoaded, and StateDamaged for a state of another size."""
        row = stored.row
        host = exactly(self.hosts, row.model, row.version, row.fingerprint)
        session = Session(row, host, self.settings.kept_replies)
        try:
            host.restore(session, stored.checkpoint, stored.records)
        except ValueError as error:
            raise self.refusal(row.id, Damaged(str(error))) from error
        for record in stored.replies:
            session.remember(record)
        self._held[row.key] = session
        return session

    def begun(self, session: Session) -> None:
        """Hold a session that has begun, in place of another of its id that it replaced."""
        before = self._held.get(session.row.key)
        if before is not None:
            self.drop(before, gone(session.row.id, "replaced"))
        self._held[session.row.key] = session

    def moved(
        self, session: Session, row: SessionRow, host: Host, state: bytes | None, record: Record
    ) -> None:
        """A mutation put the session elsewhere. Steps under way find out when they commit."""
        if not self.is_held(session):
            return self.overtaken(row)
        session.remember(record)
        if host is not session.host:
            self.run_anew(session)
            return
        session.row, session.unsaved = row, 0
        return host.placement.put(session, state)

    def overtaken(self, row: SessionRow) -> None:
        """What this engine had let go of meanwhile has brought its session to `row`: what has
        been loaded in between is out of date."""
        held = self._held.get(row.key)
        if held is not None and held.row.revision < row.revision:
            if held.row.incarnation == row.incarnation:
                self.run_anew(held)

    def passed_over(self, session: Session, outcome: Outcome) -> None:
        """A mutation was not written: bring what is held up to date. Raises NtmError where the
        session is gone, damaged, or the store has lost what was acknowledged."""
        match outcome:
            case Gone() | Damaged():
                error = self.refusal(session.row.id, outcome)
                self.drop(session, error)
                raise error
            case Stale(row=row):
                self.metrics.conflicts.inc()
                if self.moved_on(session, row) and not any(j.committing for j in session.jobs):
                    self.run_anew(session)
                    self._believe(row)
            case _:
                raise RuntimeError(f"{outcome} passes nothing over")

    def moved_on(self, session: Session, row: SessionRow) -> bool:
        """Does the store have another revision than this engine? One behind what was
        acknowledged here is remembered, and not believed when it is read again."""
        here = session.row
        if row.incarnation == here.incarnation and row.revision < here.revision:
            self._ahead[here.key] = (here.incarnation, here.revision)
            log.error("%s", rolled_back(row, here.revision))
        return (row.incarnation, row.revision) != (here.incarnation, here.revision)

    def refusal(self, name: str, outcome: Gone | Damaged) -> NtmError:
        """The answer where a session is gone or damaged."""
        if isinstance(outcome, Gone):
            return gone(name, outcome.reason)
        self.metrics.damaged.inc()
        log.error("session %s is damaged: %s", name, outcome.detail)
        return StateDamaged(f"session {name!r}: {outcome.detail}")

    def is_held(self, session: Session) -> bool:
        """Is this what the engine holds of the session now?"""
        row = session.row
        return self._held.get((row.tenant, row.id)) is session

    def drop(self, session: Session, error: NtmError) -> None:
        """This engine holds the session no longer; its waiting steps are refused."""
        for job in list(session.jobs):
            if not job.committing:
                session.host.give_up(job, error)
        self.forget(session)

    def forget(self, session: Session) -> None:
        """What this engine holds of a session is out of date: load it when it is next asked for."""
        if self.is_held(session):
            del self._held[session.row.key]
        session.host.placement.forget(session)

    async def _compared(self, session: Session) -> Session | None:
        """The held session, or None where a shared store has another revision of it."""
        row = await self.store.row(session.row.key)
        if not self.is_held(session):
            return None  # it was put off to the store meanwhile
        if isinstance(row, Gone | Damaged):
            self.passed_over(session, row)
            return None
        if any(job.committing for job in session.jobs):
            return session  # the store may show the very step that is not acknowledged yet
        if (row.incarnation, row.revision) != (session.row.incarnation, session.row.revision):
            self.passed_over(session, Stale(row))
            return None
        return session

    def _believe(self, row: SessionRow) -> None:
        """Raises StoreRolledBack for a row behind what was acknowledged."""
        incarnation, revision = self._ahead.get(row.key, ("", 0))
        if row.incarnation == incarnation and row.revision < revision:
            raise rolled_back(row, revision)
        self._ahead.pop(row.key, None)
