"""What happened to a session, as server-sent events.

An event's id is the session's ETag after it, so `Last-Event-ID` says where to go on. What raised
no revision (a fork, a snapshot, an eviction) has no id and is told only while one watches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from service import rows
from service.errors import InvalidRequest, NtmError, SessionExpired, SessionNotFound
from service.results import StateTensor, Watched, WatchedRecord
from service.schemas import TensorView

NAMES = {
    "create": "created",
    "step": "stepped",
    "reset": "reset",
    "restore": "restored",
    "import": "imported",
    "migrate": "migrated",
}
NOTICES = ("forked", "snapshotted", "evicted")
ENDS = ("expired", "deleted", "ended", "replaced")
ROLES = {"weights": ("read_weights", "write_weights"), "usage": ("usage",)}
INCLUDED = ("rows", *ROLES)
LAST_ID = re.compile(rb"([0-9A-Za-z]{1,64})-([0-9]{1,18})")

_ENCODER = msgspec.json.Encoder()


class Event(NamedTuple):
    """One event. id: where a watcher who has it goes on from."""

    name: str
    data: dict[str, Any] | msgspec.Raw
    id: str | None = None

    def text(self) -> bytes:
        """As it goes over the wire."""
        head = f"id: {self.id}\n" if self.id is not None else ""
        return b"%bevent: %b\ndata: %b\n\n" % (
            head.encode(), self.name.encode(), _ENCODER.encode(self.data)
        )  # fmt: skip


def position_of(value: bytes) -> tuple[str, int] | None:
    """Incarnation and revision that a Last-Event-ID names; None where it is empty.

    Raises InvalidRequest for one that no event of ours had.
    """
    if not value:
        return None
    found = LAST_ID.fullmatch(value)
    if found is None:
        expected, got = "the id of an event, like 8kq3-2", value.decode("latin-1")
        raise InvalidRequest(
            f"Last-Event-ID: expected {expected}, got {got!r}",
            expected=expected, got=got, where="Last-Event-ID",
        )  # fmt: skip
    return found[1].decode(), int(found[2])


def included(value: str | None) -> frozenset[str]:
    """What steps are to be told with. Raises InvalidRequest for what there is not."""
    wanted = frozenset(value.split(",")) if value else frozenset[str]()
    unknown = sorted(wanted.difference(INCLUDED))
    if unknown:
        expected = "some of " + ", ".join(INCLUDED)
        raise InvalidRequest(
            f"include: expected {expected}, got {unknown[0]!r}",
            expected=expected, got=unknown[0], where="include",
        )  # fmt: skip
    return wanted


def of(found: Watched, after: int, include: frozenset[str]) -> Iterator[Event]:
    """What the engine found after a revision, in order, and what is missing in between."""
    told: list[tuple[int, Event]] = []
    for watched in found.records:
        record = watched.record
        if record.revision > after + 1:
            missed = {"from": after + 1, "to": record.revision - 1}
            told.append((record.revision - 1, Event("missed", missed)))
        after = record.revision
        name = NAMES.get(record.kind, record.kind)
        told.append((after, Event(name, _said(watched, include), f"{found.incarnation}-{after}")))
    for notice in found.notices:
        data = {"revision": notice.revision} | notice.facts
        told.append((notice.revision, Event(notice.kind, data)))
    yield from (event for _, event in sorted(told, key=lambda pair: pair[0]))
    if found.ended is not None:
        yield Event(found.ended, {"revision": after})


def ended(session: str, how: str) -> NtmError:
    """The answer to one who would watch a session that has ended."""
    if how == "expired":
        return SessionExpired(f"session {session!r} outlived its idle TTL and has ended")
    return SessionNotFound(f"the session {session!r} that was watched has ended: {how}")


def _said(watched: WatchedRecord, include: frozenset[str]) -> dict[str, Any]:
    record = watched.record
    said: dict[str, Any] = {"step": record.step, "revision": record.revision}
    if not record.count:
        return said
    said["rows"] = record.count
    if "rows" in include:
        said["inputs"] = _unpacked(record.rows, record.count)
        said["outputs"] = _unpacked(record.outputs, record.count)
    for name in sorted(include & ROLES.keys()):
        roles, tensors = ROLES[name], watched.tensors
        said[name] = None if tensors is None else _views(t for t in tensors if t.role in roles)
    return said


def _unpacked(data: bytes, count: int) -> list[tuple[float, ...]]:
    return rows.unpack(data, (count, len(data) // (4 * count)))


def _views(tensors: Iterable[StateTensor]) -> list[TensorView]:
    return [rows.view(tensor) for tensor in tensors]
