"""Every mutation of a session but its steps: all one compare-and-write at the store.

A mutation works on the committed state and does not wait for steps under way: whichever commits
first wins, and the other finds the session moved and runs anew on what is there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import time
from typing import NamedTuple

from msgspec.structs import replace

from service.engine.host import Host
from service.engine.lifecycle import Lifecycle
from service.engine.refused import key_reused, mismatch
from service.engine.rewind import left, rebuild
from service.engine.sessions import ID_PATTERN, Session, draw_id
from service.errors import (
    InvalidRequest,
    SnapshotExists,
    SpecMismatch,
    TooManySnapshots,
    WrongShape,
)
from service.messages import (
    Fork,
    Guard,
    Import,
    Migrate,
    Moved,
    Point,
    Reset,
    Restore,
    SessionInfo,
    Snapshot,
    SnapshotInfo,
)
from service.store.store import (
    Change,
    Checkpoint,
    Committed,
    Damaged,
    Gone,
    Record,
    Replayed,
    SessionRow,
)


class Target(NamedTuple):
    """Where a mutation puts a session. state: None is the initial one."""

    host: Host
    step: int
    state: bytes | None


async def reset(life: Lifecycle, request: Reset) -> Moved:
    """Back to the initial state. Raises NtmError."""

    async def target(session: Session) -> Target:
        return Target(session.host, 0, None)

    return await _move(life, request, "reset", target)


async def restore(life: Lifecycle, request: Restore) -> Moved:
    """Back to a kept point. Raises NtmError."""

    async def target(session: Session) -> Target:
        return Target(session.host, *await rebuild(life, session, request.point))

    return await _move(life, request, "restore", target)


async def import_state(life: Lifecycle, request: Import) -> Moved:
    """Put a whole state in place, checked before anything is kept of it. Raises NtmError."""

    async def target(session: Session) -> Target:
        host = session.host
        if request.spec != host.spec_fingerprint:
            raise SpecMismatch(
                f"expected a state of spec {host.spec_fingerprint}, got {request.spec}",
                expected=host.spec_fingerprint,
                got=request.spec,
            )
        missing = [t.name for t in host.runtime.spec if t.name not in request.tensors]
        if missing:
            raise WrongShape(f"expected every tensor of the state, {missing} are missing")
        step = session.row.step if request.step is None else request.step
        return Target(host, step, host.overridden(request.tensors))

    return await _move(life, request, "import", target)


async def migrate(life: Lifecycle, request: Migrate) -> Moved:
    """Go on with another version whose state is made alike. Raises NtmError."""

    async def target(session: Session) -> Target:
        old, new = session.host, life.host(session.row.model, request.version)
        differences = _differences(old, new)
        if differences:
            raise SpecMismatch(
                f"version {request.version} keeps another state than {session.row.version}: "
                + "; ".join(differences),
                differences=differences,
            )
        # The initial state is told whole too: the new version may begin with another.
        return Target(new, session.row.step, old.pack(old.state(session)))

    return await _move(life, request, "migrate", target)


async def snapshot(life: Lifecycle, request: Snapshot) -> SnapshotInfo:
    """Keep where the session stands. It moves nothing, so the revision stays. Raises NtmError."""
    guard = request.guard
    while True:
        session = await life.open(request.tenant, request.session, fresh=True)
        row = session.row
        name = request.name or draw_id(row.tenant, f"{row.id}/{row.incarnation}", guard.key)
        if not ID_PATTERN.fullmatch(name):
            raise InvalidRequest(f"name: expected to match {ID_PATTERN.pattern}, got {name!r}")
        kept = await _snapshots(life, session)
        known = next(
            (c for c in kept if c.name == name or (guard.key and c.key == guard.key)), None
        )
        if known is not None:
            return _known_snapshot(known, name, guard)
        _hold(session, guard)
        if len(kept) >= life.settings.max_snapshots:
            most = life.settings.max_snapshots
            raise TooManySnapshots(f"{most} snapshots kept: the most allowed")
        # Whole, even where it is the initial one: the session may come to leave its version.
        state = session.host.pack(session.host.state(session))
        checkpoint = Checkpoint(
            row.revision, row.step, state, name, time(), guard.key, guard.fingerprint
        )
        outcome = await life.commit(Change(row, (row.incarnation, row.revision), None, checkpoint))
        if isinstance(outcome, Committed):
            # Another of the same name may have come first, and then is what is kept.
            kept = await _snapshots(life, session)
            first = next((c for c in kept if c.name == name), checkpoint)
            if first.created_at == checkpoint.created_at:
                return _info(checkpoint)
            return _known_snapshot(first, name, guard)
        life.passed_over(session, outcome)


async def fork(life: Lifecycle, request: Fork) -> SessionInfo:
    """A new session that goes on from a point of this one. Raises NtmError."""
    parent = await life.open(request.tenant, request.session, fresh=True)
    guard = request.guard
    name = request.id or draw_id(request.tenant, f"{request.session}/fork", guard.key)
    known = await life.created(request.tenant, name, guard)
    if known is not None:
        return known
    _hold(parent, guard)
    if request.point == Point():
        target = Target(parent.host, parent.row.step, parent.host.packed(parent))
    else:
        target = Target(parent.host, *await rebuild(life, parent, request.point))
    ttl = request.idle_ttl_s or parent.row.idle_ttl_s
    row = life.new_row(request.tenant, name, target.host, ttl)
    row = replace(row, step=target.step, forked_from=parent.row.id)
    return await life.begin(row, Checkpoint(1, target.step, target.state), guard)


async def snapshots(life: Lifecycle, tenant: str, name: str) -> list[SnapshotInfo]:
    """The session's snapshots, oldest first. Raises NtmError."""
    session = await life.open(tenant, name, fresh=True)
    return [_info(checkpoint) for checkpoint in await _snapshots(life, session)]


async def _move(
    life: Lifecycle,
    request: Reset | Restore | Import | Migrate,
    kind: str,
    target: Callable[[Session], Awaitable[Target]],
) -> Moved:
    """Compare, write, and put the session there; look again where it has moved meanwhile."""
    guard = request.guard
    while True:
        conditional = guard.if_match is not None
        session = await life.open(request.tenant, request.session, fresh=conditional)
        known = session.replies.get(guard.key) if guard.key else None
        if known is not None:
            return _replayed(session, known, guard)
        _hold(session, guard)
        row = session.row
        to = await target(session)
        after = _moved_row(row, to)
        said = (left(row), after.version.encode())
        record = Record(kind, after.revision, after.step, *said, 0, guard.key, guard.fingerprint)
        checkpoint = Checkpoint(after.revision, after.step, to.state)
        change = Change(after, (row.incarnation, row.revision), record, checkpoint)
        outcome = await life.commit(change)
        if isinstance(outcome, Committed):
            life.moved(session, after, to.host, to.state, record)
            return Moved(after.step, after.revision, after.incarnation, after.version)
        if isinstance(outcome, Replayed):
            return _replayed(session, outcome.record, guard)
        life.passed_over(session, outcome)


def _moved_row(row: SessionRow, to: Target) -> SessionRow:
    return replace(
        row,
        version=to.host.manifest.version,
        fingerprint=to.host.bundle.fingerprint,
        revision=row.revision + 1,
        step=to.step,
        committed_at=time(),
    )


def _differences(old: Host, new: Host) -> list[str]:
    before = {t.name: t for t in (*old.manifest.state, old.manifest.input, old.manifest.output)}
    after = {t.name: t for t in (*new.manifest.state, new.manifest.input, new.manifest.output)}
    return [
        f"{name}: {_shape(before.get(name))} became {_shape(after.get(name))}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def _shape(tensor: object) -> str:
    dims, dtype = getattr(tensor, "dims", None), getattr(tensor, "dtype", None)
    return "nothing" if dims is None else f"{dtype} {list(dims)}"


def _hold(session: Session, guard: Guard) -> None:
    """Raises RevisionMismatch where If-Match does not hold."""
    if guard.if_match is not None and guard.if_match != session.etag:
        row = session.row
        raise mismatch(guard.if_match, session.etag, row.step, row.revision)


def _replayed(session: Session, record: Record, guard: Guard) -> Moved:
    if record.fingerprint != guard.fingerprint:
        raise key_reused(guard.key)
    row, version = session.row, record.outputs.decode() or session.row.version
    return Moved(record.step, record.revision, row.incarnation, version, True)


async def _snapshots(life: Lifecycle, session: Session) -> list[Checkpoint]:
    found = await life.store.snapshots(session.row.key)
    if isinstance(found, Gone | Damaged):
        raise life.refusal(session.row.id, found)
    return found


def _known_snapshot(known: Checkpoint, name: str, guard: Guard) -> SnapshotInfo:
    if guard.key is not None and known.key == guard.key:
        if known.fingerprint != guard.fingerprint:
            raise key_reused(guard.key)
        return _info(known)
    raise SnapshotExists(f"there is a snapshot {name!r} already")


def _info(checkpoint: Checkpoint) -> SnapshotInfo:
    return SnapshotInfo(
        checkpoint.name or "", checkpoint.step, checkpoint.revision, checkpoint.created_at
    )
