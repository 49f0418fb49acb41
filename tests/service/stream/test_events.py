"""What an event says, and where a Last-Event-ID goes on."""

from __future__ import annotations

import struct

import pytest

from service.errors import InvalidRequest, SessionExpired, SessionNotFound
from service.results import HistoryRecord, Notice, StateTensor, Watched, WatchedRecord
from service.stream import events
from service.stream.events import Event


def told(kind: str, revision: int, step: int, count: int = 0) -> WatchedRecord:
    rows, outputs = struct.pack(f"<{3 * count}f", *range(3 * count)), b"\0" * 8 * count
    tensors = [
        StateTensor("w", "write_weights", (1, 2), struct.pack("<2f", 0.5, 0.25)),
        StateTensor("r", "read_weights", (1, 2), struct.pack("<2f", 0.0, 1.0)),
        StateTensor("u", "usage", (2,), struct.pack("<2f", 1.0, 0.0)),
    ]
    return WatchedRecord(HistoryRecord(kind, revision, step, count, rows, outputs), tensors)


def watched(*records: WatchedRecord, notices: list[Notice] | None = None, ended: str | None = None):
    return Watched("8kq3", 9, list(records), notices or [], 0, ended)


def test_an_event_is_its_id_its_name_and_one_line_of_json():
    text = Event("stepped", {"step": 3, "said": "a\nb"}, "8kq3-2").text()
    assert text == b'id: 8kq3-2\nevent: stepped\ndata: {"step":3,"said":"a\\nb"}\n\n'
    assert Event("forked", {}).text() == b"event: forked\ndata: {}\n\n"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("create", "created"), ("step", "stepped"), ("reset", "reset"), ("restore", "restored"),
        ("import", "imported"), ("migrate", "migrated"),
    ],
)  # fmt: skip
def test_every_kind_of_record_has_its_event(kind: str, name: str):
    (event,) = events.of(watched(told(kind, 2, 3)), 1, frozenset())
    assert event == Event(name, {"step": 3, "revision": 2}, "8kq3-2")


def test_a_step_tells_what_is_asked_for_and_no_more():
    record = told("step", 2, 7, 2)
    (plain,) = events.of(watched(record), 1, frozenset())
    assert plain.data == {"step": 7, "revision": 2, "rows": 2}
    (full,) = events.of(watched(record), 1, events.included("rows,weights,usage"))
    assert isinstance(full.data, dict)
    assert full.data["inputs"] == [(0, 1, 2), (3, 4, 5)]
    assert full.data["outputs"] == [(0, 0), (0, 0)]
    assert [view.name for view in full.data["weights"]] == ["w", "r"]
    assert [view.data for view in full.data["usage"]] == [[1, 0]]
    lost = WatchedRecord(record.record, None)
    (without,) = events.of(watched(lost), 1, events.included("usage"))
    assert isinstance(without.data, dict) and without.data["usage"] is None


def test_what_is_missing_between_two_revisions_is_said_once_and_in_its_place():
    records = [told("step", 5, 4, 1), told("step", 6, 5, 1), told("reset", 9, 0)]
    names = [(event.name, event.data) for event in events.of(watched(*records), 2, frozenset())]
    assert [name for name, _ in names] == ["missed", "stepped", "stepped", "missed", "reset"]
    assert [data for name, data in names if name == "missed"] == [
        {"from": 3, "to": 4},
        {"from": 7, "to": 8},
    ]


def test_a_notice_stands_behind_the_revision_it_happened_at_and_the_end_last():
    notices = [Notice("snapshotted", 2, 1, {"name": "a"}), Notice("forked", 3, 2, {"id": "b"})]
    records = [told("step", 2, 1, 1), told("step", 3, 2, 1)]
    found = list(events.of(watched(*records, notices=notices, ended="expired"), 1, frozenset()))
    assert [event.name for event in found] == [
        "stepped", "snapshotted", "stepped", "forked", "expired",
    ]  # fmt: skip
    assert found[1] == Event("snapshotted", {"revision": 2, "name": "a"})
    assert found[-1].data == {"revision": 3}


@pytest.mark.parametrize(("value", "position"), [(b"", None), (b"8kq3-2", ("8kq3", 2))])
def test_a_last_event_id_is_an_incarnation_and_a_revision(value: bytes, position: object):
    assert events.position_of(value) == position


@pytest.mark.parametrize(
    "value", [b"8kq3", b"-2", b"8kq3-", b"8kq3-x", b"8kq3--2", b"8kq3-" + b"9" * 19, b"\xff-1"]
)
def test_any_other_last_event_id_is_refused(value: bytes):
    with pytest.raises(InvalidRequest, match="Last-Event-ID"):
        events.position_of(value)


def test_what_cannot_be_included_is_refused_by_name():
    with pytest.raises(InvalidRequest, match="'memory'"):
        events.included("weights,memory")
    assert events.included(None) == events.included("") == frozenset()


def test_one_who_comes_after_the_end_is_told_how_it_ended():
    assert isinstance(events.ended("s", "expired"), SessionExpired)
    assert isinstance(events.ended("s", "deleted"), SessionNotFound)
