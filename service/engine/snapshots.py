"""Kept points of a session, by name. Keeping one moves nothing, so the revision stays."""

from __future__ import annotations

from time import time

from msgspec.structs import replace

from service.engine.lifecycle import Lifecycle
from service.engine.packing import pack
from service.engine.refused import hold, key_reused
from service.engine.sessions import ID_PATTERN, Session, draw_id
from service.errors import InvalidRequest, SnapshotExists, TooManySnapshots
from service.requests import Guard, ListSnapshots, Snapshot
from service.results import SnapshotInfo
from service.store.store import Change, Checkpoint, Committed, Damaged, Gone, SessionRow


async def keep(life: Lifecycle, request: Snapshot) -> SnapshotInfo:
    """Keep where the session stands. Raises NtmError."""
    guard = request.guard
    while True:
        session = await life.open(request.tenant, request.session, fresh=True)
        # Whole, even where it is the initial one: the session may come to leave its version. Now,
        # because it may be put off to the store while the others are asked for.
        row, state = session.row, pack(session.host.placement.state(session))
        name = _name(row, request)
        points = await _stored(life, session)
        known = next(
            (c for c in points if c.name == name or (guard.key and c.key == guard.key)), None
        )
        if known is not None:
            return _known_snapshot(known, name, guard)
        if guard.key is not None and guard.key in session.replies:
            raise key_reused(guard.key)
        hold(session, guard)
        if len(points) >= life.settings.max_snapshots:
            most = life.settings.max_snapshots
            raise TooManySnapshots(f"{most} snapshots kept: the most allowed")
        checkpoint = Checkpoint(
            row.revision, row.step, state, name, time(), guard.key, guard.fingerprint
        )
        outcome = await life.commit(Change(row, (row.incarnation, row.revision), None, checkpoint))
        if isinstance(outcome, Committed):
            # Another of the same name may have come first, and then is what is kept.
            points = await _stored(life, session)
            first = next((c for c in points if c.name == name), checkpoint)
            if first.created_at == checkpoint.created_at:
                life.feeds.tell(row.key, "snapshotted", row.revision, name=name)
                return _info(checkpoint)
            return _known_snapshot(first, name, guard)
        life.passed_over(session, outcome)


async def kept(life: Lifecycle, request: ListSnapshots) -> list[SnapshotInfo]:
    """The session's snapshots, oldest first. Raises NtmError."""
    session = await life.open(request.tenant, request.session, fresh=True)
    return [_info(checkpoint) for checkpoint in await _stored(life, session)]


def _name(row: SessionRow, request: Snapshot) -> str:
    drawn_from = f"{row.id}/{row.incarnation}"
    name = request.name
    if name is None:
        name = draw_id(row.tenant, drawn_from, request.guard.key)
    if not ID_PATTERN.fullmatch(name):
        raise InvalidRequest(f"name: expected to match {ID_PATTERN.pattern}, got {name!r}")
    return name


async def _stored(life: Lifecycle, session: Session) -> list[Checkpoint]:
    found = await life.store.snapshots(session.row.key)
    if isinstance(found, Gone | Damaged):
        raise life.refusal(session.row.id, found)
    return found


def _known_snapshot(known: Checkpoint, name: str, guard: Guard) -> SnapshotInfo:
    if guard.key is not None and known.key == guard.key:
        if known.fingerprint != guard.fingerprint:
            raise key_reused(guard.key)
        return replace(_info(known), replayed=True)
    raise SnapshotExists(f"there is a snapshot {name!r} already")


def _info(checkpoint: Checkpoint) -> SnapshotInfo:
    return SnapshotInfo(
        checkpoint.name or "", checkpoint.step, checkpoint.revision, checkpoint.created_at
    )
