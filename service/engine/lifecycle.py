"""Sessions coming, being found, and going: everything about them but their steps."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from time import time

from msgspec.structs import replace

from service.engine.host import Host
from service.engine.metrics import EngineMetrics
from service.engine.refused import gone, key_reused, mismatch
from service.engine.sessions import ID_PATTERN, Session, describe, draw_id, draw_incarnation
from service.errors import (
    InvalidRequest,
    ModelNotFound,
    ModelNotLoaded,
    NtmError,
    SessionExists,
    StateDamaged,
    StoreRolledBack,
    TooManySessions,
)
from service.messages import (
    Create,
    Delete,
    Guard,
    History,
    HistoryPage,
    HistoryRecord,
    ListSessions,
    Memory,
    SessionInfo,
    SessionPage,
    StateResult,
    StateTensor,
)
from service.settings import Settings
from service.store.store import (
    Change,
    Checkpoint,
    Committed,
    Damaged,
    Gone,
    Outcome,
    Record,
    Replayed,
    SessionKey,
    SessionRow,
    Stale,
    Store,
    Stored,
)

SWEEP = 1000  # sessions ended a sweep
SPILL = 256  # sessions put off to the store in one commit
SESSION_BYTES = 1024  # what a held session costs beside its state, about


class Lifecycle:
    """The sessions this engine holds, over a store that has them all.

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
        self.hosts: OrderedDict[tuple[str, str], Host] = OrderedDict()
        self._run_anew = run_anew
        self._held: OrderedDict[SessionKey, Session] = OrderedDict()  # least recently used first
        self._ahead: dict[SessionKey, tuple[str, int]] = {}  # acknowledged, and lost by the store

    def held(self, tenant: str, name: str) -> Session | None:
        """The session where this engine has it and it has not outlived its TTL."""
        key = SessionKey(tenant, name)
        session = self._held.get(key)
        if session is None or (session.row.expires_at <= time() and not session.jobs):
            return None
        self._held.move_to_end(key)
        return session

    def host(self, model: str, version: str | None) -> Host:
        """The host of a model, of its newest version where none is named. Raises NtmError."""
        found = [
            host
            for (name, number), host in self.hosts.items()
            if name == model and version in (None, number)
        ]
        if found:
            return max(found, key=lambda host: _order(host.manifest.version))
        known = ", ".join(f"{name} {number}" for name, number in self.hosts) or "none"
        wanted = model if version is None else f"{model} {version}"
        raise ModelNotFound(f"no model {wanted!r}; loaded: {known}")

    def host_of(self, model: str, version: str, fingerprint: str) -> Host:
        """The host of the very bundle that a session ran on. Raises ModelNotLoaded."""
        host = self.hosts.get((model, version))
        if host is None or host.bundle.fingerprint != fingerprint:
            raise ModelNotLoaded(f"the session needs {model} {version} as it began on it")
        return host

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
        stored = await self.store.load(key)
        while isinstance(stored, Stored) and stored.row.expires_at <= time():
            ended = await self.end(stored.row, "expired")
            # Where it was stepped meanwhile it lives on.
            stale = isinstance(ended, Stale)
            stored = await self.store.load(key) if stale else Gone("expired")
        if isinstance(stored, Gone | Damaged):
            raise self.refusal(name, stored)
        self._believe(stored.row)
        return self._held.get(key) or self.load(stored)

    async def create(self, request: Create) -> SessionInfo:
        """A new session at revision 1, step 0. Raises NtmError."""
        host = self.host(request.model, request.version)
        name = request.session or draw_id(request.tenant, request.model, request.guard.key)
        ttl = request.idle_ttl_s or self.settings.idle_ttl_s
        row = self.new_row(request.tenant, name, host, ttl)
        state = host.overridden(request.state) if request.state else None
        return await self.begin(row, Checkpoint(1, 0, state), request.guard)

    def new_row(self, tenant: str, name: str, host: Host, idle_ttl_s: float) -> SessionRow:
        """The row of a session about to begin. Raises InvalidRequest for a name that is none."""
        if not ID_PATTERN.fullmatch(name):
            raise InvalidRequest(f"id: expected to match {ID_PATTERN.pattern}, got {name!r}")
        model, version = host.manifest.name, host.manifest.version
        fingerprint, now = host.bundle.fingerprint, time()
        born = (draw_incarnation(), 1, 0, now, now)
        return SessionRow(tenant, name, model, version, fingerprint, *born, idle_ttl_s)

    async def begin(self, row: SessionRow, checkpoint: Checkpoint, guard: Guard) -> SessionInfo:
        """Write a new session's row and state. Raises NtmError."""
        if await self.store.count() >= self.settings.max_sessions:
            known = await self.created(row.tenant, row.id, guard)
            if known is not None:
                return known
            raise TooManySessions(f"{self.settings.max_sessions} sessions live: the most allowed")
        record = Record("create", 1, row.step, key=guard.key, fingerprint=guard.fingerprint)
        change = Change(row, None, record, checkpoint)
        outcome = await self.commit(change)
        while isinstance(outcome, Stale) and outcome.row.expires_at <= time():
            await self.end(outcome.row, "expired")
            outcome = await self.commit(change)
        if isinstance(outcome, Replayed):
            known = await self.created(row.tenant, row.id, guard)
            if known is not None:
                return known
        if not isinstance(outcome, Committed):
            raise SessionExists(f"session {row.id!r} exists already")
        return self._begun(Stored(row, checkpoint, [], [record])).info()

    def _begun(self, stored: Stored) -> Session:
        held = self._held.get(stored.row.key)
        if held is not None and held.row.incarnation == stored.row.incarnation:
            return held  # somebody stepped it already
        if held is not None:
            self.drop(held, gone(stored.row.id, None))
        return self.load(stored)

    async def created(self, tenant: str, name: str, guard: Guard) -> SessionInfo | None:
        """The reply to the creation of a session by this key; None where there was none.

        Raises KeyReused where the key came with another request.
        """
        if guard.key is None:
            return None
        stored = await self.store.load(SessionKey(tenant, name))
        if not isinstance(stored, Stored):
            return None
        first = next((record for record in stored.replies if record.key == guard.key), None)
        if first is None:
            return None
        if first.fingerprint != guard.fingerprint:
            raise key_reused(guard.key)
        row, host = stored.row, self.hosts.get((stored.row.model, stored.row.version))
        info = describe(row, 0 if host is None else host.state_bytes, "store")
        return replace(info, step=first.step, revision=first.revision)

    async def page(self, request: ListSessions) -> SessionPage:
        """A page of the tenant's sessions."""
        rows = await self.store.rows(
            request.tenant, request.cursor, request.limit + 1, request.model
        )
        infos: list[SessionInfo] = []
        for row in rows[: request.limit]:
            session = self._held.get(row.key)
            host = self.hosts.get((row.model, row.version))
            tier = "store" if session is None else session.tier
            infos.append(describe(row, 0 if host is None else host.state_bytes, tier))
        return SessionPage(infos, infos[-1].id if len(rows) > request.limit else None)

    async def memory(self, request: Memory) -> StateResult:
        """The committed state of a session. Raises NtmError."""
        session = await self.open(request.tenant, request.session, fresh=True)
        state = session.host.state(session)
        tensors = [
            StateTensor(tensor.name, tensor.role, tensor.dims, array.tobytes())
            for tensor, array in zip(session.host.runtime.spec, state, strict=True)
        ]
        row, spec = session.row, session.host.spec_fingerprint
        return StateResult(
            row.model, row.version, spec, row.step, row.revision, row.incarnation, tensors
        )

    async def history(self, request: History) -> HistoryPage:
        """What was done to a session, newest first. Raises NtmError."""
        session = await self.open(request.tenant, request.session, fresh=True)
        found = await self.store.history(session.row.key, request.before, request.limit + 1)
        if isinstance(found, Gone | Damaged):
            raise self.refusal(request.session, found)
        records = [
            HistoryRecord(r.kind, r.revision, r.step, r.count, r.rows, r.outputs)
            if r.count
            else HistoryRecord(r.kind, r.revision, r.step, 0, b"", b"")
            for r in found[: request.limit]
        ]
        manifest = session.host.manifest
        before = records[-1].revision if len(found) > request.limit else None
        return HistoryPage(manifest.input.dims[0], manifest.output.dims[0], records, before)

    async def delete(self, request: Delete) -> None:
        """End a session. Steps that wait for it are refused. Raises NtmError."""
        want = request.guard.if_match
        while True:
            session = await self.open(request.tenant, request.session, fresh=want is not None)
            row = session.row
            if want is not None and want != session.etag:
                raise mismatch(want, session.etag, row.step, row.revision)
            outcome = await self.end(row, "deleted")
            if not isinstance(outcome, Stale):
                return
            self.passed_over(session, outcome)

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
        (outcome,) = await self.store.commit([change])
        return outcome

    def load(self, stored: Stored) -> Session:
        """Hold a session. Raises ModelNotLoaded, and StateDamaged for a state of another size."""
        row = stored.row
        host = self.host_of(row.model, row.version, row.fingerprint)
        session = Session(row, host, self.settings.kept_replies)
        try:
            host.restore(session, stored.checkpoint, stored.records)
        except ValueError as error:
            raise self.refusal(row.id, Damaged(str(error))) from error
        for record in stored.replies:
            session.remember(record)
        self._held[row.key] = session
        return session

    def moved(
        self, session: Session, row: SessionRow, host: Host, state: bytes | None, record: Record
    ) -> None:
        """A mutation put the session elsewhere. Steps under way find out when they commit."""
        session.remember(record)
        if host is not session.host:
            self._run_anew(session)
            return
        session.row, session.unsaved = row, 0
        host.put(session, state)

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
                    self._run_anew(session)
                    self._believe(row)
            case _:
                raise RuntimeError(f"{outcome} passes nothing over")

    def moved_on(self, session: Session, row: SessionRow) -> bool:
        """Does the store have another revision than this engine? One behind what was
        acknowledged here is remembered, and not believed when it is read again."""
        here = session.row
        if row.incarnation == here.incarnation and row.revision < here.revision:
            self._ahead[here.key] = (here.incarnation, here.revision)
        return (row.incarnation, row.revision) != (here.incarnation, here.revision)

    def refusal(self, name: str, outcome: Gone | Damaged) -> NtmError:
        """The answer where a session is gone or damaged."""
        if isinstance(outcome, Gone):
            return gone(name, outcome.reason)
        self.metrics.damaged.inc()
        return StateDamaged(f"session {name!r}: {outcome.detail}")

    def is_held(self, session: Session) -> bool:
        """Is this what the engine holds of the session now?"""
        return self._held.get(session.row.key) is session

    def held_by(self, host: Host) -> list[Session]:
        """The sessions of a model that this engine holds."""
        return [session for session in self._held.values() if session.host is host]

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
        session.host.forget(session)

    async def sweep(self) -> None:
        """End the sessions past their TTL, but for those with steps under way."""
        for row in await self.store.expired(time(), SWEEP):
            session = self._held.get(row.key)
            if session is None or not session.jobs:
                await self.end(row, "expired")

    async def spill(self, budget: int) -> None:
        """Put idle sessions off to the store, least recently used first, until those held
        outside the device cost at most `budget` bytes."""
        idle = [s for s in self._held.values() if not s.jobs and s.tier == "host"]
        excess = sum(len(s.saved or b"") + SESSION_BYTES for s in idle) - budget
        chosen: list[Session] = []
        for session in idle:
            if excess <= 0:
                break
            excess -= len(session.saved or b"") + SESSION_BYTES
            chosen.append(session)
        await self.checkpoint(chosen)
        for session in chosen:
            if not session.jobs and not session.unsaved and self.is_held(session):
                self.forget(session)
                self.metrics.evicted(session.row.model, "host_full")

    async def checkpoint(self, sessions: list[Session] | None = None) -> None:
        """Write the state of sessions that have rows since their checkpoint; of all where None."""
        chosen = list(self._held.values()) if sessions is None else sessions
        dirty = [session for session in chosen if session.unsaved and not session.jobs]
        for at in range(0, len(dirty), SPILL):
            part = [(s, s.row) for s in dirty[at : at + SPILL]]
            changes = [self._checkpoint_of(session) for session, _ in part]
            outcomes = await self.store.commit(changes)
            for (session, row), outcome in zip(part, outcomes, strict=True):
                if isinstance(outcome, Committed) and session.row is row:
                    session.unsaved = 0

    async def update_gauges(self) -> None:
        """Bring the gauges up to date, for a scrape."""
        metrics = self.metrics
        live, resident, saved, shared = await self.store.count(), 0, 0, 0
        sizes = {"device": 0, "host": 0}
        waiting = dict.fromkeys((name for name, _ in self.hosts), 0)  # of all versions together
        for host in self.hosts.values():
            waiting[host.manifest.name] += host.scheduler.admitted
            resident += host.resident
            sizes["device"] += host.resident * host.state_bytes
            host.update_gauges()
        for session in self._held.values():
            saved += session.saved is not None
            shared += session.slot == 0
            sizes["host"] += len(session.saved or b"")
        states = {"device": resident, "initial": shared, "host": saved}
        states["store"] = max(0, live - sum(states.values()))
        for model, value in waiting.items():
            metrics.queue_depth.labels(model).set(value)
        for state, value in states.items():
            metrics.sessions.labels(state).set(value)
        for tier, value in sizes.items():
            metrics.state_bytes.labels(tier).set(value)

    async def _compared(self, session: Session) -> Session | None:
        """The held session, or None where a shared store has another revision of it."""
        row = await self.store.row(session.row.key)
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
            raise StoreRolledBack(
                f"session {row.id!r}: revision {revision} was acknowledged, the store has "
                f"{row.revision}",
                expected=revision,
                got=row.revision,
            )
        self._ahead.pop(row.key, None)

    def _checkpoint_of(self, session: Session) -> Change:
        row = session.row
        checkpoint = Checkpoint(row.revision, row.step, session.host.packed(session))
        return Change(row, (row.incarnation, row.revision), None, checkpoint)


def _order(version: str) -> list[tuple[int, int, str]]:
    # "10" is newer than "9", and "2.10" than "2.9".
    parts = re.findall(r"\d+|\D+", version)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts]
