"""Sessions coming, being found, and going: everything about them but their steps."""

from __future__ import annotations

from collections import OrderedDict
from time import time

import numpy as np
from msgspec.structs import replace

from service.engine.host import Host
from service.engine.metrics import EngineMetrics
from service.engine.refused import gone, key_reused, mismatch
from service.engine.sessions import (
    ID_PATTERN,
    Session,
    describe,
    draw_id,
    draw_incarnation,
)
from service.errors import (
    Internal,
    InvalidRequest,
    ModelNotFound,
    ModelNotLoaded,
    NotFinite,
    SessionExists,
    TooManySessions,
    WrongShape,
)
from service.messages import (
    Create,
    Delete,
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
    Record,
    Replayed,
    SessionKey,
    SessionRow,
    Stale,
    Store,
    Stored,
)

SWEEP = 1000  # sessions ended a sweep


class Lifecycle:
    """The sessions this engine holds, over a store that has them all."""

    def __init__(self, settings: Settings, store: Store, metrics: EngineMetrics) -> None:
        self.settings, self.store, self.metrics = settings, store, metrics
        self.hosts: OrderedDict[tuple[str, str], Host] = OrderedDict()
        self._held: dict[SessionKey, Session] = {}

    def held(self, tenant: str, name: str) -> Session | None:
        """The session where this engine has it and it has not outlived its TTL."""
        session = self._held.get(SessionKey(tenant, name))
        if session is None or (session.row.expires_at <= time() and not session.jobs):
            return None
        return session

    def host(self, model: str, version: str | None) -> Host:
        """The host of a model, of its newest version where none is named. Raises NtmError."""
        found = [host for (name, _), host in self.hosts.items() if name == model]
        for host in reversed(found):
            if version is None or host.manifest.version == version:
                return host
        known = ", ".join(f"{name} {number}" for name, number in self.hosts) or "none"
        wanted = model if version is None else f"{model} {version}"
        raise ModelNotFound(f"no model {wanted!r}; loaded: {known}")

    async def open(self, tenant: str, name: str) -> Session:
        """The session, loaded where this engine has it not. Raises NtmError."""
        key = SessionKey(tenant, name)
        session = self.held(tenant, name)
        if session is not None:
            return session
        stored = await self.store.load(key)
        if isinstance(stored, Stored) and stored.row.expires_at <= time():
            await self.end(stored.row, "expired")
            stored = Gone("expired")
        if isinstance(stored, Gone):
            raise gone(name, stored.reason)
        if isinstance(stored, Damaged):
            raise Internal(f"session {name!r}: {stored.detail}")
        return self._held.get(key) or self._load(stored)

    async def create(self, request: Create) -> SessionInfo:
        """A new session at revision 1, step 0. Raises NtmError."""
        host = self.host(request.model, request.version)
        name = request.session or draw_id(request.tenant, request.model, request.guard.key)
        if not ID_PATTERN.fullmatch(name):
            raise InvalidRequest(f"id: expected to match {ID_PATTERN.pattern}, got {name!r}")
        if await self.store.count() >= self.settings.max_sessions:
            raise TooManySessions(f"{self.settings.max_sessions} sessions live: the most allowed")
        now = time()
        row = SessionRow(
            request.tenant,
            name,
            host.manifest.name,
            host.manifest.version,
            host.bundle.fingerprint,
            draw_incarnation(),
            1,
            0,
            now,
            now,
            request.idle_ttl_s or self.settings.idle_ttl_s,
        )
        state = self._override(host, request.state) if request.state else None
        checkpoint = Checkpoint(1, 0, state)
        record = Record(
            "create", 1, 0, key=request.guard.key, fingerprint=request.guard.fingerprint
        )
        (outcome,) = await self.store.commit([Change(row, None, record, checkpoint)])
        match outcome:
            case Replayed(record=first) if first.fingerprint == request.guard.fingerprint:
                session = await self.open(request.tenant, name)
                return replace(session.info(), step=first.step, revision=first.revision)
            case Replayed():
                raise key_reused(request.guard.key)
            case Stale():
                raise SessionExists(f"session {name!r} exists already")
            case _:
                return self._load(Stored(row, checkpoint, [], [record])).info()

    async def page(self, request: ListSessions) -> SessionPage:
        """A page of the tenant's sessions."""
        rows = await self.store.rows(
            request.tenant, request.cursor, request.limit + 1, request.model
        )
        infos: list[SessionInfo] = []
        for row in rows[: request.limit]:
            session = self._held.get(row.key)
            host = self.hosts.get((row.model, row.version))
            size = 0 if host is None else host.state_bytes
            infos.append(session.info() if session else describe(row, size, "store"))
        return SessionPage(infos, infos[-1].id if len(rows) > request.limit else None)

    async def memory(self, request: Memory) -> StateResult:
        """The committed state of a session. Raises NtmError."""
        session = await self.open(request.tenant, request.session)
        state = session.host.state(session)
        tensors = [
            StateTensor(tensor.name, tensor.role, tensor.dims, array.tobytes())
            for tensor, array in zip(session.host.runtime.spec, state, strict=True)
        ]
        row = session.row
        return StateResult(row.step, row.revision, row.incarnation, tensors)

    async def delete(self, request: Delete) -> None:
        """End a session. Steps that wait for it are refused. Raises NtmError."""
        session = await self.open(request.tenant, request.session)
        want = request.guard.if_match
        while True:
            if want is not None and want != session.etag:
                raise mismatch(want, session.etag, session.row.step, session.row.revision)
            if await self.end(session.row, "deleted"):
                return
            # A step was committed meanwhile, or somebody else ended it: look again.
            session = await self.open(request.tenant, request.session)

    async def end(self, row: SessionRow, reason: str) -> bool:
        """End a session that stands as `row` says. False where it has moved on."""
        (outcome,) = await self.store.commit(
            [Change(row, (row.incarnation, row.revision), ended=reason)]
        )
        if isinstance(outcome, Stale):
            return False
        self.drop(row.key, reason)
        if isinstance(outcome, Committed):
            self.metrics.expiries.labels(reason).inc()
        return True

    def drop(self, key: SessionKey, reason: str) -> None:
        """This engine holds the session no longer; its waiting steps are refused."""
        session = self._held.pop(key, None)
        if session is not None:
            for job in list(session.jobs):
                if not job.committing:
                    session.host.give_up(job, gone(key.id, reason))
            session.host.forget(session)

    def forget(self, session: Session) -> None:
        """What this engine holds of a session is out of date: load it when it is next asked for."""
        self._held.pop(session.row.key, None)
        session.host.forget(session)

    async def sweep(self) -> None:
        """End the sessions past their TTL, but for those with steps under way."""
        for row in await self.store.expired(time(), SWEEP):
            session = self._held.get(row.key)
            if session is None or not session.jobs:
                await self.end(row, "expired")

    async def metrics_text(self) -> bytes:
        """The exposition, gauges brought up to date."""
        metrics = self.metrics
        live, resident, saved, shared = await self.store.count(), 0, 0, 0
        sizes = {"device": 0, "host": 0}
        for host in self.hosts.values():
            resident += host.resident
            sizes["device"] += host.resident * host.state_bytes
            metrics.queue_depth.labels(host.manifest.name).set(host.scheduler.admitted)
            used = host.runtime.backend.device_bytes()
            if used is not None:
                metrics.device_bytes.labels(host.runtime.backend.device).set(used)
        for session in self._held.values():
            saved += session.saved is not None
            shared += session.slot == 0
            sizes["host"] += len(session.saved or b"")
        states = {"device": resident, "initial": shared, "host": saved}
        states["store"] = live - sum(states.values())
        for state, value in states.items():
            metrics.sessions.labels(state).set(value)
        for tier, value in sizes.items():
            metrics.state_bytes.labels(tier).set(value)
        return metrics.text()

    def _load(self, stored: Stored) -> Session:
        host = self.hosts.get((stored.row.model, stored.row.version))
        if host is None or host.bundle.fingerprint != stored.row.fingerprint:
            raise ModelNotLoaded(
                f"the session needs {stored.row.model} {stored.row.version} as it was created on",
            )
        session = Session(stored.row, host)
        host.restore(session, stored.checkpoint, stored.records)
        for record in stored.replies:
            session.remember(record)
        self._held[stored.row.key] = session
        return session

    def _override(self, host: Host, given: dict[str, bytes]) -> bytes:
        """The initial state with some tensors replaced, packed. Raises NtmError."""
        state = host.initial()
        names = [tensor.name for tensor in host.runtime.spec]
        for name, data in given.items():
            if name not in names:
                raise InvalidRequest(f"state: expected one of {names}, got {name!r}")
            at = names.index(name)
            spec = host.runtime.spec[at]
            if len(data) != spec.size * 4:
                raise WrongShape(
                    f"state.{name}: expected dims {list(spec.dims)}, {spec.size} numbers, "
                    f"got {len(data) // 4}",
                )
            values = np.frombuffer(data, np.float32).reshape(spec.dims)
            if not np.isfinite(values).all():
                raise NotFinite(f"state.{name}: expected finite numbers")
            state[at] = values.astype(spec.dtype)
        return host.pack(state)
