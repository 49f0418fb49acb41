"""Applies changes to the file. What they write is pooled and written by the table, in bulk.

Only one ledger writes to a file, so it may remember where the latest sessions stand.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from service.store.codec import (
    PLAIN,
    DamagedError,
    checkpoint_columns,
    hash_of,
    record_columns,
    session_columns,
)
from service.store.sqlite_journal import Journal
from service.store.sqlite_pool import Pool
from service.store.sqlite_reads import View, find, keys, written
from service.store.sqlite_trim import end, trim
from service.store.store import (
    Change,
    Checkpoint,
    Committed,
    Damaged,
    Gone,
    Outcome,
    Record,
    Replayed,
    Retention,
    SessionKey,
    SessionRow,
    Stale,
)

REMEMBERED = 16_384  # sessions; about 2 KiB each with 16 keys
PLAINS = """SELECT revision, c.step, state, count IS 0
FROM checkpoints c LEFT JOIN records ON id = sid * 4294967296 + revision
WHERE sid = ? AND name = 0 ORDER BY revision DESC LIMIT 2"""


class Plain(NamedTuple):
    """A checkpoint that is no snapshot. moved: it put another state in place."""

    revision: int
    step: int
    state: bytes | None
    moved: bool


class Known:
    """A session as the ledger remembers it: its last keys and its last two checkpoints."""

    __slots__ = ("keys", "plain", "row", "sid")

    def __init__(self, sid: int, row: SessionRow) -> None:
        self.sid, self.row = sid, row
        self.keys: dict[str, int] = {}  # key -> revision of its record, oldest first
        self.plain: list[Plain] = []


class Ledger:
    """The writing side of one file, within transactions that its owner begins and ends."""

    def __init__(self, db: sqlite3.Connection, retention: Retention) -> None:
        self._db, self._retention = db, retention
        self._known: OrderedDict[SessionKey, Known] = OrderedDict()
        self._pool = Pool(db)
        self._journal = Journal(db)
        self._trims: list[Known] = []
        self._damaged: dict[SessionKey, Damaged] = {}

    @property
    def counts(self) -> dict[tuple[str, str, str], int]:
        """Live sessions by tenant, model and version."""
        return self._pool.counts

    @property
    def pages(self) -> int:
        """About how many pages were written so far."""
        return self._pool.pages

    @property
    def view(self) -> View:
        """What reads look at, in the ledger's own thread."""
        return View(self._db, self._journal.of)

    def apply(self, changes: Sequence[Change]) -> list[Outcome]:
        """Compare and write each change; one outcome each. Raises sqlite3.Error.

        After an error the owner rolls back and calls `forget`.
        """
        outcomes = [self._apply(change) for change in changes]
        self._flush()
        self._journal.clean()
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return outcomes

    def forget(self) -> None:
        """What was applied last is not in the file: start over from what is."""
        self._known.clear()
        self._trims.clear()
        self._pool.forget()
        self._journal.forget()

    def condemn(self, key: SessionKey, error: sqlite3.Error) -> None:
        """A change of this session met a damaged page: do not try the next ones."""
        self._damaged[key] = Damaged(f"the file is damaged where the session is: {error}")

    def settle(self) -> None:
        """Bring the journal's records to their place."""
        self._journal.settle_all()
        self._flush()
        self._journal.clean()

    def _apply(self, change: Change) -> Outcome:
        key, record = change.row.key, change.record
        if key in self._damaged:
            return self._damaged[key]
        try:
            known = self._find(key)
            if isinstance(known, Gone):
                return self._create(change, known) if change.expected is None else known
            if record is not None and record.key in known.keys:
                return Replayed(self._record(known, known.keys[record.key]))
        except DamagedError as error:
            return Damaged(str(error))
        if (known.row.incarnation, known.row.revision) != change.expected:
            return Stale(known.row)
        if change.ended is not None:
            self._end(known, change.ended)
        else:
            self._write(known, change)
        return Committed()

    def _find(self, key: SessionKey) -> Known | Gone:
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known
        found = find(self.view, key)
        if isinstance(found, Gone):
            return found
        known = self._known[key] = Known(*found)
        for name, revision in keys(self.view, known.sid, self._retention.replies):
            known.keys[name] = revision
        plains = self._db.execute(PLAINS, (known.sid,)).fetchall()
        known.plain = [Plain(r, s, state, bool(moved)) for r, s, state, moved in reversed(plains)]
        return known

    def _record(self, known: Known, revision: int) -> Record:
        self._flush()
        found = written(self.view, known.sid, revision, revision)
        if not found:
            raise DamagedError(f"the record of revision {revision} is missing")
        return found[0].record

    def _create(self, change: Change, gone: Gone) -> Outcome:
        row = change.row
        known = self._known[row.key] = Known(self._pool.next_sid(), row)
        self._pool.sessions.append((*session_columns(known.sid, row), row.expires_at))
        if gone.reason is not None:
            self._pool.revived.append(row.key)
        self._pool.count(row, 1)
        if change.record is not None:
            self._record_it(known, change.record, row)
        checkpoint = change.checkpoint or Checkpoint(row.revision, row.step, None)
        self._checkpoint(known, checkpoint, moved=True)
        return Committed()

    def _write(self, known: Known, change: Change) -> None:
        before, row = known.row, change.row
        known.row = row
        if change.record is not None:
            self._record_it(known, change.record, row)
        if not _tells(change, before) or self._drops_newest(change):
            self._pool.rows[known.sid] = row
        if (row.model, row.version) != (before.model, before.version):
            self._pool.count(before, -1)
            self._pool.count(row, 1)
        if change.checkpoint is not None and not self._has(known, change.checkpoint):
            moved = change.record is not None and change.record.count == 0
            self._checkpoint(known, change.checkpoint, moved)

    def _drops_newest(self, change: Change) -> bool:
        return change.checkpoint is not None and self._retention.history_rows == 0

    def _record_it(self, known: Known, record: Record, row: SessionRow) -> None:
        self._journal.add(known.sid, record_columns(known.sid, record, row))
        if (
            self._retention.history_rows == 0
        ):  # then the last one may go, which tells where they end
            self._journal.settle(known.sid)
        if record.key is not None and self._retention.replies:
            known.keys.pop(record.key, None)
            known.keys[record.key] = record.revision
            if len(known.keys) > self._retention.replies:
                del known.keys[next(iter(known.keys))]

    def _has(self, known: Known, checkpoint: Checkpoint) -> bool:
        if checkpoint.name is None:
            return bool(known.plain) and known.plain[-1].revision == checkpoint.revision
        self._flush()
        found = self._db.execute(
            "SELECT 1 FROM checkpoints WHERE sid = ? AND name = ?", (known.sid, checkpoint.name)
        )
        return found.fetchone() is not None

    def _checkpoint(self, known: Known, checkpoint: Checkpoint, moved: bool) -> None:
        state = None
        if checkpoint.state is not None:
            state = hash_of(checkpoint.state)
            self._pool.keep(state, checkpoint.state)
        self._pool.checkpoints.append(checkpoint_columns(known.sid, checkpoint, state, known.row))
        if checkpoint.name is None:
            self._journal.settle(known.sid)
            self._thin(known, Plain(checkpoint.revision, checkpoint.step, state, moved))

    def _thin(self, known: Known, new: Plain) -> None:
        """What `outdated` would drop of the last checkpoints; all it does now and then."""
        spacing, plain = self._retention.checkpoint_spacing, known.plain
        if plain and _bands(plain[-1], spacing) != _bands(new, spacing):
            self._trims.append(known)
        if len(plain) == 2:
            before, last = plain
            if before.step // spacing == last.step // spacing and not last.moved:
                self._pool.drop(known.sid, last.revision, PLAIN, last.state)
                plain.pop()
            else:
                plain.pop(0)
        plain.append(new)

    def _end(self, known: Known, reason: str) -> None:
        self._flush()
        self._journal.drop(known.sid)
        end(self._db, self._pool, known.sid, known.row, reason, self._retention)
        del self._known[known.row.key]

    def _flush(self) -> None:
        self._pool.flush()
        self._pool.pages += self._journal.flush()
        trims, self._trims = self._trims, []
        for known in trims:
            trim(self.view, self._pool, known.sid, self._retention)
        if trims:
            self._pool.flush()


def _bands(plain: Plain, spacing: int) -> tuple[int, int]:
    return plain.revision // (2 * spacing), plain.step // (2 * spacing)


def _tells(change: Change, before: SessionRow) -> bool:
    """Does the record say all of the new row that the old one does not?"""
    row, record = change.row, change.record
    if record is None:
        return row == before
    moved = replace(
        before, revision=record.revision, step=record.step, committed_at=row.committed_at
    )
    return row == moved
