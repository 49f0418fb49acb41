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


def revision_at(step: int, records: Sequence[Mark], checkpoints: Sequence[Mark]) -> int | None:
    """The latest revision at which the session stood at `step`, or passed it within a request.

    records and checkpoints: in order of revision. None where no kept one did.
    """
    stood = [mark.revision for mark in checkpoints if mark.step == step]
    for mark in reversed(records):
        if mark.step == step or mark.step - mark.rows < step < mark.step:
            return max(mark.revision, *stood)
    return max(stood, default=None)


def base_of(revision: int, checkpoints: Sequence[Mark]) -> Mark | None:
    """The newest checkpoint at or before a revision. checkpoints: in order of revision."""
    return next((mark for mark in reversed(checkpoints) if mark.revision <= revision), None)


class Outdated(NamedTuple):
    """Revisions of what need not be kept."""

    records: list[int]
    checkpoints: list[int]


def outdated(
    records: Sequence[Mark], checkpoints: Sequence[Mark], retention: Retention
) -> Outdated:
    """What falls out of `retention`. Both in order of revision, the newest state included.

    A record goes once it is before the newest checkpoint, outside the history, and no reply that
    is still kept. A checkpoint goes unless it is the newest, a snapshot, or what the history is
    rebuilt from: the one before its oldest record, then one a band of `checkpoint_spacing` rows
    and each that put another state in place.
    """
    plain = [mark for mark in checkpoints if mark.name is None]
    newest = plain[-1].revision if plain else 0
    keyed = [mark.revision for mark in records if mark.key is not None]
    replies = set(keyed[-retention.replies :]) if retention.replies else set[int]()
    dropped: list[int] = []
    rows, oldest = 0, newest
    for mark in reversed(records):
        if rows < retention.history_rows:
            oldest = mark.revision
        elif mark.revision <= newest and mark.revision not in replies:
            dropped.append(mark.revision)
        rows += mark.rows
    moved = {mark.revision for mark in records if mark.rows == 0}
    return Outdated(dropped, _thinned(plain, oldest, moved, retention.checkpoint_spacing))


def _thinned(plain: Sequence[Mark], oldest: int, moved: set[int], spacing: int) -> list[int]:
    base = max((at for at, mark in enumerate(plain) if mark.revision < oldest), default=0)
    dropped = [mark.revision for mark in plain[:base]]
    band = plain[base].step // spacing if plain else 0
    for mark in plain[base + 1 : -1]:
        if mark.step // spacing == band and mark.revision not in moved:
            dropped.append(mark.revision)
        band = mark.step // spacing
    return dropped


def leads_to(revision: int, base: Mark, records: Sequence[Mark]) -> list[Mark] | None:
    """The records from a checkpoint to a revision; None where one of them is not kept, or is no
    step and so cannot be run again."""
    path = [mark for mark in records if base.revision < mark.revision <= revision]
    whole = len(path) == revision - base.revision and all(mark.rows for mark in path)
    return path if whole else None
