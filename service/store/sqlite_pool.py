"""Writes that wait to be made together: each table's in one go."""

from __future__ import annotations

import sqlite3
from collections import Counter

from service.store.codec import (
    CHECKPOINT_COLUMNS,
    SESSION_COLUMNS,
    Columns,
    session_columns,
)
from service.store.store import SessionKey, SessionRow


def _insert(table: str, columns: str) -> str:
    names = columns.split(", ")
    return f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(names))})"


SESSIONS = _insert("sessions", f"{SESSION_COLUMNS}, due")
CHECKPOINTS = _insert("checkpoints", CHECKPOINT_COLUMNS)
STATES = _insert("states", "hash, blob, refs")
BLOBS = _insert("blobs", "blob, body")
ROWS = f"""UPDATE sessions SET
({SESSION_COLUMNS.removeprefix("sid, ")}) = ({", ".join("?" * (SESSION_COLUMNS.count(",")))}),
due = min(due, ?) WHERE sid = ?"""
COUNTS = """INSERT INTO counts (tenant, model, version, live) VALUES (?, ?, ?, ?)
ON CONFLICT (tenant, model, version) DO UPDATE SET live = live + excluded.live"""
FREED = "DELETE FROM states WHERE hash = ? AND refs <= 0 RETURNING blob"
LOOKED_UP = 32  # hashes a query, filled up so that its text stays one


class Pool:
    """What a ledger has decided to write, and the counters that go with it."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.sessions: list[Columns] = []
        self.checkpoints: list[Columns] = []
        self.rows: dict[int, SessionRow] = {}  # by sid
        self.revived: list[SessionKey] = []  # their tombstones go
        self.pages = 0  # about how many were written so far
        self._states: dict[bytes, bytes] = {}
        self._refs: Counter[bytes] = Counter()
        self._dropped: list[tuple[int, int, object]] = []
        self._deltas: Counter[tuple[str, str, str]] = Counter()
        self._sid = self._most("sid", "sessions")
        self._blob = self._most("blob", "blobs")
        self.counts = self._counted()

    def next_sid(self) -> int:
        """A number that no session has."""
        self._sid += 1
        return self._sid

    def count(self, row: SessionRow, by: int) -> None:
        """One session more or less of a tenant and model."""
        self._deltas[row.tenant, row.model, row.version] += by

    def keep(self, state: bytes, body: bytes) -> None:
        """One more checkpoint names a state."""
        self._states[state] = body
        self._refs[state] += 1

    def release(self, state: bytes) -> None:
        """One checkpoint less names a state; the last takes its bytes along."""
        self._refs[state] -= 1

    def drop(self, sid: int, revision: int, name: object, state: bytes | None) -> None:
        """Delete a checkpoint."""
        self._dropped.append((sid, revision, name))
        if state is not None:
            self.release(state)

    def flush(self) -> None:
        """Write everything. Raises sqlite3.Error."""
        many = self._db.executemany
        if self.sessions:
            many(SESSIONS, self.sessions)
        if self.revived:
            many("DELETE FROM tombstones WHERE tenant = ? AND id = ?", self.revived)
        if self.checkpoints:
            many(CHECKPOINTS, self.checkpoints)
        if self._dropped:
            many(
                "DELETE FROM checkpoints WHERE sid = ? AND revision = ? AND name = ?", self._dropped
            )
        if self.rows:
            many(ROWS, [_update(sid, row) for sid, row in self.rows.items()])
        self._flush_states()
        if self._deltas:
            self._flush_counts()
        self.pages += 3 * len(self.sessions) + 3 * len(self.checkpoints)
        self._clear()

    def forget(self) -> None:
        """Drop what waits; the counts are the file's again."""
        self._clear()
        self.counts = self._counted()

    def _flush_states(self) -> None:
        changed = {state: by for state, by in self._refs.items() if by}
        stored = self._stored([state for state in changed if state in self._states])
        new = [s for s in changed if s in self._states and s not in stored]
        old = [(by, s) for s, by in changed.items() if s in stored or s not in self._states]
        if old:
            self._db.executemany("UPDATE states SET refs = refs + ? WHERE hash = ?", old)
        self._flush_blobs({state: changed[state] for state in new}, self._freed(old))

    def _freed(self, changed: list[tuple[int, bytes]]) -> list[int]:
        """The blobs of states that nothing names any more."""
        freed: list[int] = []
        for state in (state for by, state in changed if by < 0):
            freed += [blob for (blob,) in self._db.execute(FREED, (state,)).fetchall()]
        return freed

    def _flush_blobs(self, new: dict[bytes, int], freed: list[int]) -> None:
        """Write new states, over freed ones as far as there are any: no page changes hands."""
        many = self._db.executemany
        more = range(self._blob + 1, self._blob + 1 + max(0, len(new) - len(freed)))
        self._blob += len(more)
        places = list(zip(new, [*freed, *more], strict=False))
        if freed:
            many(
                "UPDATE blobs SET body = ? WHERE blob = ?",
                [(self._states[state], blob) for state, blob in places[: len(freed)]],
            )
            many("DELETE FROM blobs WHERE blob = ?", [(blob,) for blob in freed[len(new) :]])
        if more:
            many(BLOBS, [(blob, self._states[state]) for state, blob in places[len(freed) :]])
        if new:
            many(STATES, [(state, blob, new[state]) for state, blob in places])
        self.pages += sum(3 + len(self._states[state]) // 4096 for state in new)

    def _stored(self, states: list[bytes]) -> set[bytes]:
        found: set[bytes] = set()
        for start in range(0, len(states), LOOKED_UP):
            some: list[bytes | None] = [*states[start : start + LOOKED_UP]]
            some += [None] * (LOOKED_UP - len(some))
            query = f"SELECT hash FROM states WHERE hash IN ({', '.join('?' * LOOKED_UP)})"
            found.update(state for (state,) in self._db.execute(query, some).fetchall())
        return found

    def _flush_counts(self) -> None:
        deltas = {of: by for of, by in self._deltas.items() if by}
        self._db.executemany(COUNTS, [(*of, by) for of, by in deltas.items()])
        counts = Counter(self.counts)
        counts.update(deltas)
        # A new one, since others read it meanwhile.
        self.counts = {of: live for of, live in counts.items() if live}

    def _clear(self) -> None:
        for waiting in (self.sessions, self.checkpoints, self.revived, self._dropped):
            waiting.clear()
        for waiting in (self.rows, self._states, self._refs, self._deltas):
            waiting.clear()

    def _most(self, column: str, table: str) -> int:
        return self._db.execute(f"SELECT max({column}) FROM {table}").fetchone()[0] or 0

    def _counted(self) -> dict[tuple[str, str, str], int]:
        """Live sessions by tenant, model and version."""
        rows = self._db.execute("SELECT * FROM counts WHERE live <> 0").fetchall()
        return {tuple(of): live for *of, live in rows}


def _update(sid: int, row: SessionRow) -> Columns:
    return (*session_columns(sid, row)[1:], row.expires_at, sid)
