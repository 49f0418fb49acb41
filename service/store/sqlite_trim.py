"""What goes out of the file: old records and checkpoints, ended sessions, old tombstones."""

from __future__ import annotations

import sqlite3
from itertools import takewhile
from time import time

from service.store.codec import (
    PLAIN,
    DamagedError,
    id_of,
)
from service.store.sqlite_pool import Pool
from service.store.sqlite_reads import SESSIONS, View, checkpoint_marks, record_marks, standing
from service.store.store import Retention, SessionRow
from service.store.timeline import Mark, outdated

LOOKED_AT = 4  # times as many sessions as asked for, in search of expired ones
PURGED = 1000
AGAIN_S = 86_400.0  # until a damaged session is looked at again


def trim(view: View, pool: Pool, sid: int, retention: Retention) -> None:
    """Delete what falls out of a session's retention."""
    db, records = view.db, record_marks(view, sid)
    old = outdated(records, checkpoint_marks(db, sid), retention)
    db.executemany(
        "DELETE FROM records WHERE id BETWEEN ? AND ?",
        [(id_of(sid, first), id_of(sid, last)) for first, last in _runs(records, old.records)],
    )
    for revision in old.checkpoints:
        (state,) = db.execute(
            "SELECT state FROM checkpoints WHERE sid = ? AND revision = ? AND name = ?",
            (sid, revision, PLAIN),
        ).fetchone()
        pool.drop(sid, revision, PLAIN, state)
    pool.pages += 2 + len(old.records) // 8


def _runs(records: list[Mark], dropped: list[int]) -> list[tuple[int, int]]:
    """The dropped revisions as ranges without a kept one inside."""
    runs: list[tuple[int, int]] = []
    gone, last = set(dropped), max(dropped, default=-1)
    joined = False
    for mark in takewhile(lambda mark: mark.revision <= last, records):
        if mark.revision not in gone:
            joined = False
        elif joined:
            runs[-1] = (runs[-1][0], mark.revision)
        else:
            runs.append((mark.revision, mark.revision))
            joined = True
    return runs


def end(
    db: sqlite3.Connection,
    pool: Pool,
    sid: int,
    row: SessionRow,
    reason: str,
    retention: Retention,
) -> None:
    """Delete a session, but for its tombstone."""
    states = db.execute(
        "SELECT state FROM checkpoints WHERE sid = ? AND state IS NOT NULL", (sid,)
    ).fetchall()
    for (state,) in states:
        pool.release(state)
    db.execute("DELETE FROM checkpoints WHERE sid = ?", (sid,))
    db.execute(
        "DELETE FROM records WHERE id BETWEEN ? AND ?", (id_of(sid, 0), id_of(sid + 1, 0) - 1)
    )
    db.execute("DELETE FROM sessions WHERE sid = ?", (sid,))
    db.execute(
        "REPLACE INTO tombstones (tenant, id, reason, until) VALUES (?, ?, ?, ?)",
        (row.tenant, row.id, reason, time() + retention.tombstone_s),
    )
    pool.count(row, -1)
    pool.pages += 8


def expired(view: View, now: float, limit: int) -> list[SessionRow]:
    """Sessions past their TTL. One that was stepped since it was due is due later.

    Runs in a transaction that may write, and clears tombstones away that are past their time.
    """
    db = view.db
    due = db.execute(
        f"{SESSIONS} WHERE due <= ? ORDER BY due LIMIT ?",
        (now, limit * LOOKED_AT),
    ).fetchall()
    found: list[SessionRow] = []
    later: list[tuple[float, int]] = []
    for columns in due:
        if len(found) == limit:
            break
        try:
            _, row = standing(view, columns)
        except DamagedError:
            later.append((now + AGAIN_S, columns[0]))
            continue
        if row.expires_at <= now:
            found.append(row)
        else:
            later.append((row.expires_at, columns[0]))
    db.executemany("UPDATE sessions SET due = ? WHERE sid = ?", later)
    db.execute(
        "DELETE FROM tombstones WHERE (tenant, id) IN "
        "(SELECT tenant, id FROM tombstones WHERE until <= ? LIMIT ?)",
        (time(), PURGED),
    )
    return found
