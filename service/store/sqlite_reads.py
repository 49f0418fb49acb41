"""What can be asked of the file: plain functions of a view of it.

All raise DamagedError where what they need does not match its checksum or is not there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from time import time
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from service.store.codec import (
    CHECKPOINT_COLUMNS,
    PLAIN,
    RECORD_COLUMNS,
    REVISIONS,
    SESSION_COLUMNS,
    Columns,
    DamagedError,
    Kept,
    Written,
    bundle_of,
    checkpoint_of,
    hash_of,
    id_of,
    record_of,
    session_of,
)
from service.store.store import Checkpoint, Gone, Record, SessionKey, SessionRow, Stored
from service.store.timeline import Mark, route


def _of(table: str, columns: str) -> str:
    """Columns, each named with its table."""
    return f"{table}." + columns.replace(", ", f", {table}.")


RECORDS = f"SELECT {RECORD_COLUMNS} FROM records WHERE id BETWEEN ? AND ?"
NEWEST = f"{RECORDS} ORDER BY id DESC LIMIT ?"
KEYED = f"{RECORDS} AND key IS NOT NULL ORDER BY id DESC LIMIT ?"
KEYS = """SELECT key, id FROM records WHERE id BETWEEN ? AND ? AND key IS NOT NULL
ORDER BY id DESC LIMIT ?"""
# A session's row, and after it the last of its records that are in their place.
SESSIONS = f"""SELECT {_of("s", SESSION_COLUMNS)}, {_of("r", RECORD_COLUMNS)}
FROM sessions s LEFT JOIN records r ON r.id = (
SELECT max(id) FROM records WHERE id BETWEEN sid * 4294967296 AND sid * 4294967296 + 4294967295)"""
SESSION = f"{SESSIONS} WHERE s.tenant = ? AND s.id = ?"
OF_SESSION = len(SESSION_COLUMNS.split(", "))
CHECKPOINT = f"SELECT {CHECKPOINT_COLUMNS} FROM checkpoints WHERE sid = ?"
STATE = "SELECT body FROM blobs JOIN states USING (blob) WHERE hash = ?"
# One row, so that the interpreter's lock changes hands once and not a thousand times.
MARKS = """SELECT json_group_array(json_array(id % 4294967296, step, count,
iif(key IS NULL, NULL, '')))
FROM (SELECT id, step, count, key FROM records WHERE id BETWEEN ? AND ? ORDER BY id)"""
_MARKS = msgspec.json.Decoder(list[Mark])
KEY = 5  # of RECORD_COLUMNS


class View(NamedTuple):
    """The file, and by sid the records that wait in its journal: later than the others."""

    db: sqlite3.Connection
    waiting: Callable[[int], list[Columns]]


def find(view: View, key: SessionKey) -> tuple[int, SessionRow] | Gone:
    """A session's sid, and where it stands."""
    columns = view.db.execute(SESSION, key).fetchone()
    return _tombstone(view.db, key) if columns is None else standing(view, columns)


def standing(view: View, columns: Columns) -> tuple[int, SessionRow]:
    """The sid and the row of `SESSIONS`, brought forward by the session's last record."""
    sid, row = session_of(columns[:OF_SESSION])
    waiting = view.waiting(sid)
    newest = waiting[-1] if waiting else columns[OF_SESSION:]
    if newest[0] is None or newest[0] % REVISIONS <= row.revision:
        return sid, row
    record, at, _ = record_of(newest)
    return sid, replace(row, revision=record.revision, step=record.step, committed_at=at)


def load(view: View, key: SessionKey, replies: int) -> Stored | Gone:
    """See `Store.load`."""
    found = find(view, key)
    if isinstance(found, Gone):
        return found
    sid, row = found
    columns = view.db.execute(f"{CHECKPOINT} ORDER BY revision DESC, name DESC LIMIT 1", (sid,))
    kept = _kept(columns.fetchone())
    base = kept.checkpoint.revision
    later = written(view, sid, base + 1, row.revision)
    if len(later) != row.revision - base:
        raise DamagedError(f"a record before revision {row.revision} is missing")
    if any(part.bundle != bundle_of(row.fingerprint) for part in (kept, *later)):
        raise DamagedError(f"what is kept since revision {base} is another bundle's")
    checkpoint = _with_state(view.db, kept)
    return Stored(row, checkpoint, [part.record for part in later], _replies(view, sid, replies))


def at(
    view: View,
    key: SessionKey,
    step: int | None,
    revision: int | None,
    snapshot: str | None,
) -> Stored | Gone | None:
    """See `Store.at`."""
    found = find(view, key)
    if isinstance(found, Gone):
        return found
    (sid, row), db = found, view.db
    if snapshot is not None:
        columns = db.execute(f"{CHECKPOINT} AND name = ?", (sid, snapshot)).fetchone()
        return None if columns is None else Stored(row, _with_state(db, _kept(columns)), [], [])
    marks = record_marks(view, sid), checkpoint_marks(db, sid)
    way = route(*marks, step=step, revision=revision)
    if way is None:
        return None
    base = way.base.revision
    columns = db.execute(f"{CHECKPOINT} AND revision = ? LIMIT 1", (sid, base)).fetchone()
    last = way.records[-1].revision if way.records else base
    records = [part.record for part in written(view, sid, base + 1, last)]
    return Stored(row, _with_state(db, _kept(columns)), records, [])


def history(view: View, key: SessionKey, before: int | None, limit: int) -> list[Record] | Gone:
    """See `Store.history`."""
    found = find(view, key)
    if isinstance(found, Gone):
        return found
    end = REVISIONS if before is None else min(before, REVISIONS)
    return [record_of(columns).record for columns in _newest(view, found[0], end, limit)]


def snapshots(view: View, key: SessionKey) -> list[Checkpoint] | Gone:
    """See `Store.snapshots`."""
    found = find(view, key)
    if isinstance(found, Gone):
        return found
    rows = view.db.execute(f"{CHECKPOINT} AND name <> ? ORDER BY revision, at", (found[0], PLAIN))
    return [checkpoint_of(columns).checkpoint for columns in rows.fetchall()]


def rows(
    view: View, tenant: str, after: str | None, limit: int, model: str | None
) -> list[SessionRow]:
    """See `Store.rows`. A damaged row is passed over."""
    only = "" if model is None else " AND s.model = ?"
    cursor = view.db.execute(
        f"{SESSIONS} WHERE s.tenant = ? AND s.id > ?{only} ORDER BY s.id",
        (tenant, after or "") if model is None else (tenant, after or "", model),
    )
    found: list[SessionRow] = []
    while len(found) < limit and (columns := cursor.fetchone()) is not None:
        try:
            found.append(standing(view, columns)[1])
        except DamagedError:
            continue
    cursor.close()
    return found


def keys(view: View, sid: int, last: int) -> list[tuple[str, int]]:
    """The last keys of a session and their records' revisions, in order."""
    found = [(c[KEY], c[0]) for c in reversed(view.waiting(sid)) if c[KEY] is not None][:last]
    if len(found) < last:
        found += view.db.execute(KEYS, (*_span(sid), last - len(found))).fetchall()
    return [(key, at % REVISIONS) for key, at in reversed(found)]


def written(view: View, sid: int, first: int, last: int) -> list[Written]:
    """A session's records from one revision to another, in order."""
    ends = id_of(sid, first), id_of(sid, last)
    settled = view.db.execute(f"{RECORDS} ORDER BY id", ends).fetchall()
    waiting = [columns for columns in view.waiting(sid) if ends[0] <= columns[0] <= ends[1]]
    return [record_of(columns) for columns in (*settled, *waiting)]


def record_marks(view: View, sid: int) -> list[Mark]:
    """A session's records without their bytes."""
    (text,) = view.db.execute(MARKS, _span(sid)).fetchone()
    waiting = (record_of(columns).record for columns in view.waiting(sid))
    return _MARKS.decode(text) + [Mark(r.revision, r.step, r.count, r.key) for r in waiting]


def checkpoint_marks(db: sqlite3.Connection, sid: int) -> list[Mark]:
    """A session's checkpoints without their bytes."""
    found = db.execute(
        "SELECT revision, step, name FROM checkpoints WHERE sid = ? ORDER BY revision, name", (sid,)
    )
    return [
        Mark(revision, step, name=None if name == PLAIN else name)
        for revision, step, name in found.fetchall()
    ]


def state_of(db: sqlite3.Connection, state: bytes, revision: int) -> bytes:
    """The bytes that a checkpoint names by their hash."""
    found = db.execute(STATE, (state,)).fetchone()
    if found is None:
        raise DamagedError(f"the state of revision {revision} is missing")
    if not isinstance(found[0], bytes) or hash_of(found[0]) != state:
        raise DamagedError(f"the state of revision {revision} does not match its hash")
    return found[0]


def _span(sid: int, end: int = REVISIONS) -> tuple[int, int]:
    """The ids that records of a session may have, up to a revision."""
    return id_of(sid, 0), id_of(sid, end) - 1


def _newest(view: View, sid: int, end: int, limit: int) -> Sequence[Columns]:
    """The last records before a revision, newest first."""
    before = id_of(sid, end)
    found = [columns for columns in reversed(view.waiting(sid)) if columns[0] < before][:limit]
    if len(found) < limit:
        found += view.db.execute(NEWEST, (*_span(sid, end), limit - len(found))).fetchall()
    return found


def _replies(view: View, sid: int, last: int) -> list[Record]:
    """The last records with a key, in order."""
    found = [columns for columns in reversed(view.waiting(sid)) if columns[KEY] is not None][:last]
    if len(found) < last:
        found += view.db.execute(KEYED, (*_span(sid), last - len(found))).fetchall()
    return [record_of(columns).record for columns in reversed(found)]


def _tombstone(db: sqlite3.Connection, key: SessionKey) -> Gone:
    found = db.execute(
        "SELECT reason, until FROM tombstones WHERE tenant = ? AND id = ?", key
    ).fetchone()
    return Gone(found[0] if found is not None and found[1] > time() else None)


def _kept(columns: Columns | None) -> Kept:
    if columns is None:
        raise DamagedError("the session has no checkpoint")
    return checkpoint_of(columns)


def _with_state(db: sqlite3.Connection, kept: Kept) -> Checkpoint:
    if kept.state is None:
        return kept.checkpoint
    return replace(kept.checkpoint, state=state_of(db, kept.state, kept.checkpoint.revision))
