"""What clients may see of sessions: a page of them, one's state, what was done to it."""

from __future__ import annotations

from service.engine.lifecycle import Lifecycle
from service.engine.sessions import describe
from service.errors import ModelNotLoaded
from service.requests import Describe, History, ListSessions, Memory
from service.results import (
    HistoryPage,
    HistoryRecord,
    SessionInfo,
    SessionPage,
    StateResult,
    StateTensor,
)
from service.store.store import Damaged, Gone, SessionKey, SessionRow


async def page(life: Lifecycle, request: ListSessions) -> SessionPage:
    """A page of the tenant's sessions."""
    rows = await life.store.rows(request.tenant, request.cursor, request.limit + 1, request.model)
    infos: list[SessionInfo] = []
    for row in rows[: request.limit]:
        session = life.known(row.key)
        host = life.hosts.get((row.model, row.version))
        tier = "store" if session is None else session.tier
        infos.append(describe(row, 0 if host is None else host.state_bytes, tier))
    return SessionPage(infos, infos[-1].id if len(rows) > request.limit else None)


async def described(life: Lifecycle, request: Describe) -> SessionInfo:
    """Where a session stands, also where its version is not loaded. Raises NtmError."""
    try:
        return (await life.open(request.tenant, request.session, fresh=True)).info()
    except ModelNotLoaded:
        row = await life.store.row(SessionKey(request.tenant, request.session))
        if not isinstance(row, SessionRow):
            raise
        return describe(row, 0, "store")


async def memory(life: Lifecycle, request: Memory) -> StateResult:
    """The committed state of a session. Raises NtmError."""
    session = await life.open(request.tenant, request.session, fresh=True)
    state = session.host.placement.state(session)
    tensors = [
        StateTensor(tensor.name, tensor.role, tensor.dims, array.tobytes())
        for tensor, array in zip(session.host.runtime.spec, state, strict=True)
    ]
    row, spec = session.row, session.host.spec_fingerprint
    return StateResult(
        row.model, row.version, spec, row.step, row.revision, row.incarnation, tensors
    )


async def history(life: Lifecycle, request: History) -> HistoryPage:
    """What was done to a session, newest first. Raises NtmError."""
    session = await life.open(request.tenant, request.session, fresh=True)
    found = await life.store.history(session.row.key, request.before, request.limit + 1)
    if isinstance(found, Gone | Damaged):
        raise life.refusal(request.session, found)
    records = [
        HistoryRecord(r.kind, r.revision, r.step, r.count, r.rows, r.outputs)
        if r.count
        else HistoryRecord(r.kind, r.revision, r.step, 0, b"", b"")
        for r in found[: request.limit]
    ]
    manifest = session.host.manifest
    before = records[-1].revision if len(found) > request.limit else None
    return HistoryPage(manifest.input.dims[0], manifest.output.dims[0], records, before)
