"""What was read of a session in Redis, as its present or an earlier point. All raise Unreadable."""

from __future__ import annotations

from typing import Any, NamedTuple

from service.store.redis_format import Point, Unreadable, point_of, record_of, row_of, with_state
from service.store.store import Record, Stored
from service.store.timeline import Mark, route


class Path(NamedTuple):
    """From a checkpoint over the records behind it."""

    base: Point
    records: list[Record]


def path_of(
    found: list[Any], step: int | None, revision: int | None, snapshot: str | None
) -> Path | None:
    """The way to a point, of what the script read as "all". None where it is not kept."""
    points = [point_of(text) for text in found[1]]
    if snapshot is not None:
        named = next((point for point in points if point.mark.name == snapshot), None)
        return None if named is None else Path(named, [])
    records = [record_of(data) for data in [*reversed(found[3]), *found[2]]]
    marks = [Mark(r.revision, r.step, r.count, r.key) for r in records]
    way = route(marks, [point.mark for point in points], step=step, revision=revision)
    if way is None:
        return None
    base = next(point for point in points if point.mark.revision == way.base.revision)
    last = way.base.revision + len(way.records)
    return Path(base, [r for r in records if way.base.revision < r.revision <= last])


def stored_of(found: list[Any], last: int) -> Stored:
    """A session as it stands, of what the script read as "load". last: replies told."""
    row = row_of(found[0])
    checkpoint = with_state(point_of(found[1]), found[2], row.fingerprint)
    records = [record_of(data, row.fingerprint) for data in found[3]]
    wanted = range(checkpoint.revision + 1, row.revision + 1)
    if [record.revision for record in records] != list(wanted):
        raise Unreadable(f"expected records of revisions {wanted.start} to {row.revision}")
    older = sorted((record_of(data) for data in found[4]), key=lambda record: record.revision)
    keyed = [record for record in [*older, *records] if record.key is not None]
    return Stored(row, checkpoint, records, keyed[-last:] if last else [])
