"""Which records and checkpoints of a session lead to a point of its past, and which are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from service.store.store import Retention


class Mark(NamedTuple):
    """A checkpoint or a record without its bytes."""

    revision: int
    step: int
    rows: int = 0  # of a record
    key: str | None = None
    name: str | None = None  # of a snapshot


class Route(NamedTuple):
    """How to come to a point: from a checkpoint, through records."""

    base: Mark
    records: list[Mark]


def route(
    records: Sequence[Mark], checkpoints: Sequence[Mark], *, step: int | None, revision: int | None
) -> Route | None:
    """The way to a revision, or to the latest time the session stood at a step, be it within a
    request of several rows: then the last record leads past it.

    Both in order of revision. None where that point, or something on the way, is not kept.
    """
    if step is not None:
        return _route_to_step(records, checkpoints, step)
    return None if revision is None else _route_from(records, checkpoints, revision, revision)


def _route_to_step(records: Sequence[Mark], checkpoints: Sequence[Mark], step: int) -> Route | None:
    stood = max((mark.revision for mark in checkpoints if mark.step == step), default=0)
    for mark in reversed(records):
        if mark.revision <= stood:
            break
        if mark.step == step:
            return _route_from(records, checkpoints, mark.revision, mark.revision)
        if mark.step - mark.rows < step < mark.step:
            return _route_from(records, checkpoints, mark.revision, mark.revision - 1)
    return _route_from(records, checkpoints, stood, stood) if stood else None


def _route_from(
    records: Sequence[Mark], checkpoints: Sequence[Mark], revision: int, newest_base: int
) -> Route | None:
    """From the newest checkpoint at or before `newest_base`; only steps can be run again."""
    base = next((mark for mark in reversed(checkpoints) if mark.revision <= newest_base), None)
    if base is None:
        return None
    path = [mark for mark in records if base.revision < mark.revision <= revision]
    whole = len(path) == revision - base.revision and all(mark.rows for mark in path)
    return Route(base, path) if whole else None


class Outdated(NamedTuple):
    """Revisions of what need not be kept."""

    records: list[int]
    checkpoints: list[int]


def outdated(
    records: Sequence[Mark], checkpoints: Sequence[Mark], retention: Retention
) -> Outdated:
    """What falls out of `retention`. Both in order of revision, the newest state included.

    The history is rebuilt from the checkpoint before its oldest record, so what came after that
    one is kept. A checkpoint goes unless it is that one or the newest, a snapshot, the first of
    its band of `checkpoint_spacing` rows, or put another state in place. A mutation without rows
    takes the place of one row, so that their number is bounded too.
    """
    plain = [mark for mark in checkpoints if mark.name is None]
    oldest = _oldest(records, retention.history_rows)
    base = len(plain) - 1
    if oldest is not None:
        base = max((at for at, mark in enumerate(plain) if mark.revision < oldest), default=0)
    start = plain[base].revision if plain else 0
    if oldest is not None:
        start = min(start, oldest - 1)  # a creation's record is as old as the first checkpoint
    keyed = [mark.revision for mark in records if mark.key is not None]
    replies = set(keyed[-retention.replies :]) if retention.replies else set[int]()
    dropped = [m.revision for m in records if m.revision <= start and m.revision not in replies]
    moved = {mark.revision for mark in records if mark.rows == 0}
    return Outdated(dropped, _thinned(plain, base, moved, retention.checkpoint_spacing))


def _oldest(records: Sequence[Mark], rows: int) -> int | None:
    """The revision of the record with the oldest of the last `rows` rows."""
    oldest = None
    for mark in reversed(records):
        if rows <= 0:
            break
        oldest = mark.revision
        rows -= max(mark.rows, 1)
    return oldest


def _thinned(plain: Sequence[Mark], base: int, moved: set[int], spacing: int) -> list[int]:
    dropped = [mark.revision for mark in plain[:base]] if plain else []
    band = plain[base].step // spacing if plain else 0
    for mark in plain[base + 1 : -1]:
        if mark.step // spacing == band and mark.revision not in moved:
            dropped.append(mark.revision)
        band = mark.step // spacing
    return dropped
