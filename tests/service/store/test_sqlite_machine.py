"""Whatever is done to them, in whatever order: the SQLite store answers as the memory store does,
and leads back to each state of the history, also after it was closed and opened again.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    precondition,
    rule,
)
from msgspec.structs import replace

from service.store import sqlite_journal, sqlite_ledger
from service.store.memory import MemoryStore
from service.store.sqlite import Durability, SqliteStore, open_sqlite
from service.store.store import (
    Change,
    Checkpoint,
    Committed,
    Record,
    Retention,
    SessionRow,
    Store,
    Stored,
)
from tests.service.store.contract import end, row_of
from tests.service.store.sqlite_store import inside

RETENTION = Retention(replies=3, history_rows=8, checkpoint_spacing=4)
NAMES = st.sampled_from(["a", "b", "c"])
KEYS = st.sampled_from([None, None, "k1", "k2", "k3", "k4", "k5"])
Point = tuple[str, int]  # incarnation and revision


def advanced(state: bytes, rows: bytes) -> bytes:
    """A network's step, as far as this is about."""
    return hashlib.blake2b(state + rows, digest_size=8).digest()


def within(records: list[Record]) -> list[Record]:
    """Those that every store keeps: of the last rows, newest first."""
    rows, found = 0, list[Record]()
    for record in records:
        if rows >= RETENTION.history_rows:
            break
        rows += max(record.count, 1)
        found.append(record)
    return found


class TwoStores(RuleBasedStateMachine):
    """Every change goes to both; `states` tells the state that each revision had."""

    done = Bundle("done")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.memory = MemoryStore(RETENTION)
        self.states: dict[Point, bytes] = {}
        self.incarnations = self.taken = 0
        self.path = Path(self.folder.name) / "store.db"
        self.kind: Literal["sync", "async"] = "sync"
        self.sqlite = self.opened()

    def opened(self) -> SqliteStore:
        durability = Durability(self.kind, full=False, async_window_s=60)
        return self.run(open_sqlite(str(self.path), durability, RETENTION, 1 << 16))

    def run(self, answer: Any) -> Any:
        async def awaited() -> Any:
            return await answer

        return self.runner.run(awaited())

    def both(self, ask: Callable[[Store], Awaitable[Any]]) -> tuple[Any, Any]:
        return self.run(ask(self.memory)), self.run(ask(self.sqlite))

    def row(self, name: str) -> SessionRow:
        found = self.run(self.memory.row(row_of(name).key))
        return found if isinstance(found, SessionRow) else row_of(name, incarnation="none")

    def commit(self, changes: list[Change]) -> Any:
        expected, outcomes = self.both(lambda store: store.commit(changes))
        assert outcomes == expected
        for change, outcome in zip(changes, outcomes, strict=True):
            row, record = change.row, change.record
            point = (row.incarnation, row.revision)
            if outcome == Committed() and record is not None:
                assert change.checkpoint or record.count
                state = self.states.get((row.incarnation, row.revision - 1), b"")
                given = change.checkpoint.state if change.checkpoint else None
                self.states[point] = given or advanced(state, record.rows)
        return multiple(*changes)

    def created(self, name: str, key: str | None) -> Change:
        self.incarnations += 1
        row = row_of(name, incarnation=f"i{self.incarnations}")
        state = b"begins as %d" % self.incarnations
        return Change(row, None, Record("create", 1, 0, key=key), Checkpoint(1, 0, state))

    def stepped(self, row: SessionRow, rows: int, key: str | None, saved: bool) -> Change:
        after = replace(
            row,
            revision=row.revision + 1,
            step=row.step + rows,
            committed_at=row.committed_at + 1,
        )
        inputs = bytes([row.revision % 256, rows]) * rows
        record = Record("step", after.revision, after.step, inputs, b"out", rows, key, b"print")
        state = self.states.get((row.incarnation, row.revision), b"")
        checkpoint = Checkpoint(after.revision, after.step, advanced(state, inputs))
        expected = (row.incarnation, row.revision)
        return Change(after, expected, record, checkpoint if saved else None)

    @rule(target=done, name=NAMES, key=KEYS)
    def create(self, name: str, key: str | None) -> Any:
        return self.commit([self.created(name, key)])

    @rule(target=done, name=NAMES, rows=st.integers(1, 5), key=KEYS, saved=st.booleans())
    def step(self, name: str, rows: int, key: str | None, saved: bool) -> Any:
        return self.commit([self.stepped(self.row(name), rows, key, saved)])

    @rule(target=done, name=NAMES, times=st.integers(2, 6), key=KEYS)
    def tick(self, name: str, times: int, key: str | None) -> Any:
        """Several at once, of one session and of another."""
        row, changes = self.row(name), [self.stepped(self.row("b"), 1, key, False)]
        for _ in range(times):
            changes.append(self.stepped(row, 1, None, False))
            if name != "b":
                row = changes[-1].row
        return self.commit(changes)

    @rule(target=done, name=NAMES, to=st.integers(0, 6), key=KEYS)
    def restore(self, name: str, to: int, key: str | None) -> Any:
        row = self.row(name)
        after = replace(row, revision=row.revision + 1, step=to, version=str(to % 2))
        record = Record("restore", after.revision, to, key=key)
        checkpoint = Checkpoint(after.revision, to, b"restored to %d" % to)
        return self.commit([Change(after, (row.incarnation, row.revision), record, checkpoint)])

    @rule(name=NAMES, mark=st.sampled_from([None, "one", "two"]))
    def checkpoint(self, name: str, mark: str | None) -> None:
        row = self.row(name)
        state = self.states.get((row.incarnation, row.revision), b"")
        self.taken += 1
        taken = Checkpoint(row.revision, row.step, state, mark, self.taken, mark, b"taken")
        change = Change(row, (row.incarnation, row.revision), checkpoint=taken)
        expected, outcomes = self.both(lambda store: store.commit([change]))
        assert outcomes == expected

    @rule(change=done)
    def repeat(self, change: Change) -> None:
        expected, outcomes = self.both(lambda store: store.commit([change]))
        assert outcomes == expected
        if outcomes == [Committed()]:  # a creation of what has ended meanwhile
            assert change.checkpoint is not None and change.checkpoint.state is not None
            point = (change.row.incarnation, change.row.revision)
            self.states = {at: s for at, s in self.states.items() if at[0] != point[0]}
            self.states[point] = change.checkpoint.state

    @rule(name=NAMES, reason=st.sampled_from(["deleted", "expired"]))
    def end(self, name: str, reason: str) -> None:
        change = end(self.row(name), reason)
        expected, outcomes = self.both(lambda store: store.commit([change]))
        assert outcomes == expected

    @rule(kind=st.sampled_from(["sync", "async"]))
    def reopen(self, kind: Literal["sync", "async"]) -> None:
        self.kind = kind
        self.run(self.sqlite.close())
        self.sqlite = self.opened()

    @precondition(lambda self: self.kind == "sync")
    @rule()
    def crash(self) -> None:
        """Go on with the file as it is at this moment."""
        left = self.path.with_name(f"{self.path.stem}-left.db")
        with inside(self.path) as db, inside(left) as copy:
            db.backup(copy)
        self.run(self.sqlite.close())
        self.path = left
        self.sqlite = self.opened()

    @invariant()
    def they_agree(self) -> None:
        expected, found = self.both(lambda store: store.rows("acme", None, 9, None))
        assert found == expected
        expected, found = self.both(lambda store: store.count(("copy", "1")))
        assert found == expected
        for name in ("a", "b", "c"):
            self.agrees(row_of(name))

    def agrees(self, named: SessionRow) -> None:
        key = named.key
        for ask in ("row", "snapshots"):
            expected, found = self.both(lambda store, ask=ask: getattr(store, ask)(key))
            assert found == expected
        expected, found = self.both(lambda store: store.load(key))
        if not isinstance(expected, Stored):
            assert found == expected
            return
        assert (found.row, found.replies) == (expected.row, expected.replies)
        row = found.row
        assert self.rebuilt(found) == self.states[row.incarnation, row.revision]
        rows = 0
        for record in self.run(self.sqlite.history(key, None, 100)):
            if rows >= RETENTION.history_rows:
                break
            rows += max(record.count, 1)
            way = self.run(self.sqlite.at(key, revision=record.revision))
            assert self.rebuilt(way) == self.states[row.incarnation, record.revision]
        expected, found = self.both(lambda store: store.history(key, None, 100))
        assert within(found) == within(expected)
        # What a store keeps beyond that is its own affair, but not what it says of it.
        kept = {record.revision: record for record in expected}
        assert all(kept.get(record.revision, record) == record for record in found)

    def rebuilt(self, stored: Stored) -> bytes:
        state = stored.checkpoint.state
        assert state is not None
        for record in stored.records:
            state = advanced(state, record.rows)
        return state

    def teardown(self) -> None:
        self.run(self.sqlite.close())
        self.runner.close()
        self.folder.cleanup()


@pytest.fixture(autouse=True)
def everything_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the journal is settled and cleared, and sessions are forgotten, all the time."""
    monkeypatch.setattr(sqlite_journal, "KEPT_ROWS", 12)
    monkeypatch.setattr(sqlite_journal, "KEPT_RECORDS", 5)
    monkeypatch.setattr(sqlite_journal, "CLEARED_ROWS", 6)
    monkeypatch.setattr(sqlite_ledger, "REMEMBERED", 2)


TestTwoStores = TwoStores.TestCase
TestTwoStores.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
