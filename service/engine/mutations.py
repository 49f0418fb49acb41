"""Every mutation of a session but its steps: all one compare-and-write at the store.

A mutation works on the committed state and does not wait for steps under way: whichever commits
first wins, and the other finds the session moved and runs anew on what is there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from time import time
from typing import NamedTuple

from msgspec.structs import replace

from model.state import StateSpec
from service.engine import creation
from service.engine.host import Host
from service.engine.hosts import named
from service.engine.lifecycle import Lifecycle
from service.engine.packing import overridden, pack
from service.engine.refused import hold, key_reused
from service.engine.rewind import left, rebuild
from service.engine.sessions import Session, draw_id
from service.errors import ModelNotLoaded, SpecMismatch, WrongShape
from service.requests import Delete, Fork, Given, Guard, Import, Migrate, Point, Reset, Restore
from service.results import Moved, SessionInfo
from service.store.store import (
    Change,
    Checkpoint,
    Committed,
    Record,
    Replayed,
    SessionKey,
    SessionRow,
    Stale,
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
        _check_made(host.runtime.spec, request.tensors)
        given = {name: tensor.data for name, tensor in request.tensors.items()}
        step = session.row.step if request.step is None else request.step
        return Target(host, step, overridden(host.runtime.spec, host.initial(), given))

    return await _move(life, request, "import", target)


async def migrate(life: Lifecycle, request: Migrate) -> Moved:
    """Go on with another version whose state is made alike. Raises NtmError."""

    async def target(session: Session) -> Target:
        old, new = session.host, named(life.hosts, session.row.model, request.version)
        differences = _differences(old, new)
        if differences:
            raise SpecMismatch(
                f"version {request.version} keeps another state than {session.row.version}: "
                + "; ".join(differences),
                differences=differences,
            )
        # The initial state is told whole too: the new version may begin with another.
        return Target(new, session.row.step, pack(old.placement.state(session)))

    return await _move(life, request, "migrate", target)


async def fork(life: Lifecycle, request: Fork) -> SessionInfo:
    """A new session that goes on from a point of this one. Raises NtmError."""
    guard = request.guard
    creation.check_name(request.id)
    name = request.id or draw_id(request.tenant, f"{request.session}/fork", guard.key)
    known = await creation.created(life, request.tenant, name, guard, drawn=request.id is None)
    if known is not None:
        return known
    parent = await life.open(request.tenant, request.session, fresh=True)
    hold(parent, guard)
    await life.quotas.check(request.tenant, parent.host)  # before rows are run again for nothing
    now = parent.row if request.point == Point() else None
    if now is not None:
        target = Target(parent.host, parent.row.step, parent.host.placement.packed(parent))
    else:
        target = Target(parent.host, *await rebuild(life, parent, request.point))
    ttl = request.idle_ttl_s or parent.row.idle_ttl_s
    row = creation.new_row(request.tenant, name, target.host, ttl)
    row = replace(row, step=target.step, forked_from=parent.row.id)
    forked = await creation.begin(life, row, Checkpoint(1, target.step, target.state), guard)
    child = life.known(row.key)
    if parent.row is now and child is not None and child.row is row:  # neither has moved meanwhile
        target.host.placement.share(parent, child)
    life.feeds.tell(parent.row.key, "forked", parent.row.revision, id=forked.id)
    return forked


async def delete(life: Lifecycle, request: Delete) -> None:
    """End a session. Steps that wait for it are refused. Raises NtmError."""
    conditional = request.guard.if_match is not None
    while True:
        try:
            session = await life.open(request.tenant, request.session, fresh=conditional)
        except ModelNotLoaded:
            if not conditional and await _delete_unloaded(life, request):
                return
            raise
        hold(session, request.guard)
        outcome = await life.end(session.row, "deleted")
        if not isinstance(outcome, Stale):
            return
        life.passed_over(session, outcome)


async def _delete_unloaded(life: Lifecycle, request: Delete) -> bool:
    """End a session whose version is not loaded: that takes its row alone. False where it moved."""
    row = await life.store.row(SessionKey(request.tenant, request.session))
    if not isinstance(row, SessionRow):
        return False
    return not isinstance(await life.end(row, "deleted"), Stale)


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
        hold(session, guard)
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


def _check_made(spec: StateSpec, tensors: Mapping[str, Given]) -> None:
    """Raises WrongShape where a tensor is missing, or of another dtype or other dims."""
    missing = [tensor.name for tensor in spec if tensor.name not in tensors]
    if missing:
        raise WrongShape(f"expected every tensor of the state, {missing} are missing")
    for tensor in spec:
        got = tensors[tensor.name]
        if (got.dtype, got.dims) != (tensor.dtype, tensor.dims):
            raise WrongShape(
                f"state.{tensor.name}: expected {_shape(tensor)}, got {_shape(got)}",
                expected=_shape(tensor), got=_shape(got), where=f"state.{tensor.name}",
            )  # fmt: skip


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


def _replayed(session: Session, record: Record, guard: Guard) -> Moved:
    if record.fingerprint != guard.fingerprint:
        raise key_reused(guard.key)
    row, version = session.row, record.outputs.decode() or session.row.version
    return Moved(record.step, record.revision, row.incarnation, version, True)
