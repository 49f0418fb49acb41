"""What can be asked of the file: plain functions of a connection, each one consistent read.

All raise DamagedError where what they need does not match its checksum or is not there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from time import time

import msgspec
from msgspec.structs import replace

from service.store.codec import (
    CHECKPOINT_COLUMNS,
    PLAIN,
    RECORD_COLUMNS,
    REVISIONS,
    SESSION_COLUMNS,
    DamagedError,
    checkpoint_of,
    hash_of,
    id_of,
    record_of,
    session_of,
)
from service.store.store import Checkpoint, Gone, Record, SessionKey, SessionRow, Stored
from service.store.timeline import Mark, route

RECORDS = f"SELECT {RECORD_COLUMNS} FROM records WHERE id BETWEEN ? AND ?"
LAST = f"{RECORDS} ORDER BY id DESC LIMIT 1"
KEYED = f"{RECORDS} AND key IS NOT NULL ORDER BY id DESC LIMIT ?"
SESSION = f"SELECT {SESSION_COLUMNS} FROM sessions WHERE tenant = ? AND id = ?"
CHECKPOINT = f"SELECT {CHECKPOINT_COLUMNS} FROM checkpoints WHERE sid = ?"
# One row, so that the interpreter's lock changes hands once and not a thousand times.
MARKS = """SELECT json_group_array(json_array(id % 4294967296, step, count,
iif(key IS NULL, NULL, '')))
FROM (SELECT id, step, count, key FROM records WHERE id BETWEEN ? AND ? ORDER BY id)"""
_MARKS = msgspec.json.Decoder(list[Mark])

Found = tuple[int, SessionRow]


def find(db: sqlite3.Connection, key: SessionKey) -> Found | Gone:
    """A session's sid, and where it stands."""
    columns = db.execute(SESSION, key).fetchone()
    if columns is None:
        return tombstone(db, key)
    sid, row = session_of(columns)
    return sid, latest(db, sid, row)


def latest(db: sqlite3.Connection, sid: int, row: SessionRow) -> SessionRow:
    """The stored row, brought forward by the session's last record."""
    columns = db.execute(LAST, span(sid)).fetchone()
    if columns is None or columns[0] % REVISIONS <= row.revision:
        return row
    record, at = record_of(columns)
    return replace(row, revision=record.revision, step=record.step, committed_at=at)


def span(sid: int, after: int = -1) -> tuple[int, int]:
    """The first and the last id that records of a session after a revision may have."""
    return id_of(sid, after + 1), id_of(sid + 1, 0) - 1


def tombstone(db: sqlite3.Connection, key: SessionKey) -> Gone:
    """Why there is no such session."""
    found = db.execute(
        "SELECT reason, until FROM tombstones WHERE tenant = ? AND id = ?", key
    ).fetchone()
    return Gone(found[0] if found is not None and found[1] > time() else None)


def load(db: sqlite3.Connection, key: SessionKey, replies: int) -> Stored | Gone:
    """See `Store.load`."""
    found = find(db, key)
    if isinstance(found, Gone):
        return found
    sid, row = found
    columns = db.execute(f"{CHECKPOINT} ORDER BY revision DESC, name DESC LIMIT 1", (sid,))
    checkpoint = _with_state(db, columns.fetchone())
    later = _records(db, RECORDS + " ORDER BY id", span(sid, checkpoint.revision))
    if len(later) != row.revision - checkpoint.revision:
        raise DamagedError(f"a record before revision {row.revision} is missing")
    keyed = _records(db, KEYED, (*span(sid), replies))
    return Stored(row, checkpoint, later, keyed[::-1])


def at(
    db: sqlite3.Connection,
    key: SessionKey,
    step: int | None,
    revision: int | None,
    snapshot: str | None,
) -> Stored | Gone | None:
    """See `Store.at`."""
    found = find(db, key)
    if isinstance(found, Gone):
        return found
    sid, row = found
    if snapshot is not None:
        columns = db.execute(f"{CHECKPOINT} AND name = ?", (sid, snapshot)).fetchone()
        return None if columns is None else Stored(row, _with_state(db, columns), [], [])
    marks = record_marks(db, sid), checkpoint_marks(db, sid)
    way = route(*marks, step=step, revision=revision)
    if way is None:
        return None
    base = way.base.revision
    columns = db.execute(f"{CHECKPOINT} AND revision = ? LIMIT 1", (sid, base)).fetchone()
    last = way.records[-1].revision if way.records else base
    records = _records(db, RECORDS + " ORDER BY id", (id_of(sid, base + 1), id_of(sid, last)))
    return Stored(row, _with_state(db, columns), records, [])


def history(
    db: sqlite3.Connection, key: SessionKey, before: int | None, limit: int
) -> list[Record] | Gone:
    """See `Store.history`."""
    found = find(db, key)
    if isinstance(found, Gone):
        return found
    first, last = span(found[0])
    if before is not None:
        last = min(last, id_of(found[0], before) - 1)
    return _records(db, f"{RECORDS} ORDER BY id DESC LIMIT ?", (first, last, limit))


def snapshots(db: sqlite3.Connection, key: SessionKey) -> list[Checkpoint] | Gone:
    """See `Store.snapshots`."""
    found = find(db, key)
    if isinstance(found, Gone):
        return found
    rows = db.execute(f"{CHECKPOINT} AND name <> ? ORDER BY revision, at", (found[0], PLAIN))
    return [checkpoint_of(columns)[0] for columns in rows.fetchall()]


def rows(
    db: sqlite3.Connection, tenant: str, after: str | None, limit: int, model: str | None
) -> list[SessionRow]:
    """See `Store.rows`. A damaged row is passed over."""
    only = "" if model is None else " AND model = ?"
    cursor = db.execute(
        f"SELECT {SESSION_COLUMNS} FROM sessions WHERE tenant = ? AND id > ?{only} ORDER BY id",
        (tenant, after or "") if model is None else (tenant, after or "", model),
    )
    found: list[SessionRow] = []
    for row in _whole(db, cursor):
        if len(found) == limit:
            break
        found.append(row)
    cursor.close()
    return found


def record_marks(db: sqlite3.Connection, sid: int) -> list[Mark]:
    """A session's records without their bytes."""
    (text,) = db.execute(MARKS, span(sid)).fetchone()
    return _MARKS.decode(text)


def checkpoint_marks(db: sqlite3.Connection, sid: int) -> list[Mark]:
    """A session's checkpoints without their bytes."""
    found = db.execute(
        "SELECT revision, step, name FROM checkpoints WHERE sid = ? ORDER BY revision, name", (sid,)
    )
    return [
        Mark(revision, step, name=None if name == PLAIN else name)
        for revision, step, name in found.fetchall()
    ]


def _whole(db: sqlite3.Connection, cursor: sqlite3.Cursor) -> Iterator[SessionRow]:
    for columns in cursor:
        try:
            yield latest(db, *session_of(columns))
        except DamagedError:
            continue


def _records(db: sqlite3.Connection, query: str, values: tuple[int, ...]) -> list[Record]:
    return [record_of(columns)[0] for columns in db.execute(query, values).fetchall()]


def _with_state(db: sqlite3.Connection, columns: tuple[object, ...] | None) -> Checkpoint:
    """The checkpoint with its state's bytes, held against their hash."""
    if columns is None:
        raise DamagedError("the session has no checkpoint")
    checkpoint, state = checkpoint_of(columns)
    if state is None:
        return checkpoint
    found = db.execute(
        "SELECT body FROM blobs JOIN states USING (blob) WHERE hash = ?", (state,)
    ).fetchone()
    if found is None or hash_of(found[0]) != state:
        told = "is missing" if found is None else "does not match its hash"
        raise DamagedError(f"the state of revision {checkpoint.revision} {told}")
    return replace(checkpoint, state=found[0])
