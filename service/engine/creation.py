"""Sessions that begin: one row and one state at the store, or the reply to the same key before."""

from __future__ import annotations

from time import time

from msgspec.structs import replace

from service.engine import hosts
from service.engine.host import Host
from service.engine.lifecycle import Lifecycle
from service.engine.packing import overridden
from service.engine.refused import gone, key_reused
from service.engine.sessions import (
    ID_PATTERN,
    RESERVED,
    Session,
    describe,
    draw_id,
    draw_incarnation,
)
from service.errors import InvalidRequest, SessionExists, TooManySessions, TooManyStateBytes
from service.requests import Create, Guard
from service.results import SessionInfo
from service.store.store import (
    Change,
    Checkpoint,
    Committed,
    Gone,
    Record,
    Replayed,
    SessionKey,
    SessionRow,
    Stale,
    Stored,
)


async def create(life: Lifecycle, request: Create) -> SessionInfo:
    """A new session at revision 1, step 0. Raises NtmError."""
    host = hosts.named(life.hosts, request.model, request.version)
    check_name(request.session)
    name = request.session or draw_id(request.tenant, request.model, request.guard.key)
    if request.session is None:
        known = await created(life, request.tenant, name, request.guard, drawn=True)
        if known is not None:
            return known
    ttl = request.idle_ttl_s or life.settings.idle_ttl_s
    row = new_row(request.tenant, name, host, ttl)
    state = None
    if request.state:
        state = overridden(host.runtime.spec, host.initial(), request.state)
    return await begin(life, row, Checkpoint(1, 0, state), request.guard)


def check_name(name: str | None) -> None:
    """Raises InvalidRequest for a name that a session cannot get from its user."""
    if name is None:
        return
    if not ID_PATTERN.fullmatch(name):  # "" too, which is not the same as none
        raise InvalidRequest(f"id: expected to match {ID_PATTERN.pattern}, got {name!r}")
    if name.startswith(RESERVED):
        raise InvalidRequest(f"id: expected none that begins with {RESERVED!r}, got {name!r}")


def new_row(tenant: str, name: str, host: Host, idle_ttl_s: float) -> SessionRow:
    """The row of a session about to begin. Raises InvalidRequest for a name that is none."""
    if not ID_PATTERN.fullmatch(name):
        raise InvalidRequest(f"id: expected to match {ID_PATTERN.pattern}, got {name!r}")
    model, version = host.manifest.name, host.manifest.version
    fingerprint, now = host.bundle.fingerprint, time()
    born = (draw_incarnation(), 1, 0, now, now)
    return SessionRow(tenant, name, model, version, fingerprint, *born, idle_ttl_s)


async def begin(
    life: Lifecycle, row: SessionRow, checkpoint: Checkpoint, guard: Guard
) -> SessionInfo:
    """Write a new session's row and state. Raises NtmError."""
    try:
        async with life.quotas.room(row.tenant, life.hosts[row.model, row.version]):
            return await _begin(life, row, checkpoint, guard)
    except (TooManySessions, TooManyStateBytes):
        known = await created(life, row.tenant, row.id, guard)
        if known is not None:
            return known
        raise


async def _begin(
    life: Lifecycle, row: SessionRow, checkpoint: Checkpoint, guard: Guard
) -> SessionInfo:
    said = row.version.encode()  # which the session may come to leave
    record = Record("create", 1, row.step, b"", said, 0, guard.key, guard.fingerprint)
    change = Change(row, None, record, checkpoint)
    outcome = await life.commit(change)
    while isinstance(outcome, Stale) and outcome.row.expires_at <= time():
        await life.end(outcome.row, "expired")
        outcome = await life.commit(change)
    if isinstance(outcome, Replayed):
        known = await created(life, row.tenant, row.id, guard)
        if known is not None:
            return known
    if not isinstance(outcome, Committed):
        expected = "an id of no live session"
        raise SessionExists(f"expected {expected}, got {row.id!r}", expected=expected, got=row.id)
    return _begun(life, Stored(row, checkpoint, [], [record])).info()


async def created(
    life: Lifecycle, tenant: str, name: str, guard: Guard, drawn: bool = False
) -> SessionInfo | None:
    """The reply to the creation of a session by this key; None where there was none.

    drawn: is the name drawn from the key? Then a session of it that has ended was begun by it.
    Raises KeyReused where the key came with another request, SessionNotFound and SessionExpired.
    """
    if guard.key is None:
        return None
    stored = await life.store.load(SessionKey(tenant, name))
    if drawn and isinstance(stored, Gone) and stored.reason is not None:
        raise gone(name, stored.reason)  # a late repeat must not bring it back
    if not isinstance(stored, Stored):
        return None
    first = await _first(life, stored, guard.key)
    if first is None:
        return None
    if first.fingerprint != guard.fingerprint:
        raise key_reused(guard.key)
    row = replace(
        stored.row,
        version=first.outputs.decode() or stored.row.version,
        revision=first.revision,
        step=first.step,
        committed_at=stored.row.created_at,
    )
    host = life.hosts.get((row.model, row.version))
    info = describe(row, 0 if host is None else host.state_bytes, "store")
    return replace(info, replayed=True)


async def _first(life: Lifecycle, stored: Stored, key: str) -> Record | None:
    """The record of a session's beginning, where this key began it and it is still kept."""
    found = [record for record in stored.replies if record.key == key]
    if found:
        return found[0]
    oldest = await life.store.history(stored.row.key, 2, 1)
    records = oldest if isinstance(oldest, list) else []
    return next((record for record in records if record.key == key), None)


def _begun(life: Lifecycle, stored: Stored) -> Session:
    held = life.known(stored.row.key)
    if held is not None and held.row.incarnation == stored.row.incarnation:
        return held  # somebody stepped it already
    if held is not None:
        life.drop(held, gone(stored.row.id, None))
    return life.load(stored)
