"""Records on their way into the file's `records`.

A session's records lie together there, so that each one written by itself would touch a page of
its own. New ones are therefore appended to one table, the journal, and remembered; a session's go
to their place together, when a checkpoint is written or when they have become old in the journal.
"""

from __future__ import annotations

import sqlite3

from service.store.codec import RECORD_COLUMNS, REVISIONS, Columns

KEPT_ROWS = 16_384  # of the journal, until the oldest session in it is settled
KEPT_RECORDS = 16  # of one session
LARGE_BYTES = 1024  # of one record, which goes to its place at once
CLEARED_ROWS = 1024  # of the journal, deleted at a time
NAMES = len(RECORD_COLUMNS.split(", "))
INSERT = f"INSERT INTO records ({RECORD_COLUMNS}) VALUES ({', '.join('?' * NAMES)})"
APPEND = f"INSERT INTO journal (seq, {RECORD_COLUMNS}) VALUES ({', '.join('?' * (NAMES + 1))})"
FORGET = "DELETE FROM journal WHERE id / 4294967296 IN (SELECT value FROM json_each(?))"
ALL = f"SELECT seq, {RECORD_COLUMNS} FROM journal ORDER BY seq"
SETTLED = """SELECT sid, (SELECT max(id) FROM records
WHERE id BETWEEN sid * 4294967296 AND sid * 4294967296 + 4294967295)
FROM sessions WHERE sid = ?"""

Waiting = dict[int, list[tuple[int, Columns]]]


def waiting_in(db: sqlite3.Connection) -> Waiting:
    """By sid the journal's records that have not gone to their place, each with its number."""
    found: Waiting = {}
    settled: dict[int, int | None] = {}  # the last id in its place; None: the session has ended
    for seq, *columns in db.execute(ALL).fetchall():
        if not isinstance(columns[0], int):  # damaged: a record is missing, as its session tells
            continue
        sid = columns[0] // REVISIONS
        if sid not in settled:
            row = db.execute(SETTLED, (sid,)).fetchone()
            settled[sid] = None if row is None else row[1] or 0
        last = settled[sid]
        if last is not None and columns[0] > last:
            found.setdefault(sid, []).append((seq, tuple(columns)))
    return found


def columns_of(waiting: Waiting, sid: int) -> list[Columns]:
    """A session's records that wait, in order."""
    return [columns for _, columns in waiting.get(sid, ())]


class Journal:
    """The journal of one file, and what of it waits. Oldest sessions first."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._new: dict[int, Columns] = {}
        self._settled: list[Columns] = []
        self._ended: list[int] = []
        self.forget()

    def of(self, sid: int) -> list[Columns]:
        """A session's records that wait, in order: all later than those in their place."""
        return columns_of(self._waiting, sid)

    def add(self, sid: int, columns: Columns) -> None:
        """One more record."""
        self._seq += 1
        waiting = self._waiting.setdefault(sid, [])
        waiting.append((self._seq, columns))
        self._new[self._seq] = columns
        if len(waiting) >= KEPT_RECORDS or len(columns[7]) + len(columns[8]) > LARGE_BYTES:
            self.settle(sid)

    def settle(self, sid: int) -> None:
        """A session's records go to their place with the next flush."""
        for seq, columns in self._waiting.pop(sid, ()):
            self._settled.append(columns)
            self._new.pop(seq, None)

    def settle_all(self) -> None:
        """So do everybody's, and the journal is emptied."""
        for sid in list(self._waiting):
            self.settle(sid)
        self._cleared -= CLEARED_ROWS

    def drop(self, sid: int) -> None:
        """The session has ended: the journal keeps nothing of it, not even what is settled."""
        for seq, _ in self._waiting.pop(sid, ()):
            self._new.pop(seq, None)
        self._ended.append(sid)

    def flush(self) -> int:
        """Write what is new. About how many pages it took. Raises sqlite3.Error."""
        while self._waiting and self._seq - self._oldest() > KEPT_ROWS:
            self.settle(next(iter(self._waiting)))
        if self._new:
            self._db.executemany(APPEND, [(seq, *row) for seq, row in self._new.items()])
        if self._settled:
            self._db.executemany(INSERT, self._settled)
        pages = 1 + len(self._new) // 8 + len(self._settled) // 4
        self._new.clear()
        self._settled.clear()
        return pages

    def clean(self) -> None:
        """Delete what is settled, once it is much, and what has ended. Raises sqlite3.Error."""
        if self._ended:
            self._db.execute(FORGET, (str(self._ended),))
            self._ended.clear()
        done = self._oldest() - 1 if self._waiting else self._seq
        if done - self._cleared >= CLEARED_ROWS:
            self._db.execute("DELETE FROM journal WHERE seq <= ?", (done,))
            self._cleared = done

    def forget(self) -> None:
        """Start over from what is in the file."""
        for undone in (self._new, self._settled, self._ended):
            undone.clear()
        self._waiting = waiting_in(self._db)
        first, last = self._db.execute("SELECT min(seq), max(seq) FROM journal").fetchone()
        self._seq, self._cleared = last or 0, (first or 1) - 1

    def _oldest(self) -> int:
        return next(iter(self._waiting.values()))[0][0]
