"""What can be done to a store's file from outside, while a server uses it or not."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

from service.store.codec import (
    CHECKPOINT_COLUMNS,
    RECORD_COLUMNS,
    REVISIONS,
    DamagedError,
    checkpoint_of,
    id_of,
    record_of,
)
from service.store.sqlite_journal import columns_of, waiting_in
from service.store.sqlite_reads import SESSIONS, View, standing, state_of
from service.store.sqlite_schema import BUSY_S, connect, identify, version_of
from service.store.store import StoreUnavailable

SNAPSHOT_S = 1.0  # as long as one is read from, the server's log cannot start anew
VACUUMED = 256  # pages a transaction
REFS = """SELECT count(*) FROM states LEFT JOIN (
SELECT state, count(*) AS named FROM checkpoints WHERE state IS NOT NULL GROUP BY state)
ON hash = state WHERE refs IS NOT named"""


class Finding(NamedTuple):
    """Something damaged. session: "tenant/id"; None where it is the file's."""

    session: str | None
    detail: str


def check(path: str) -> Iterator[Finding | int]:
    """Verify the file and every session in it. Yields what is damaged, then the sessions seen.

    Raises StoreUnavailable for what is no store.
    """
    with closing(_opened(path)) as db:
        db.execute("PRAGMA query_only = ON")
        yield from _structure(db)
        seen, sid = 0, -1
        while sid is not None:
            sid, some, findings = _snapshot(db, sid)
            seen += some
            yield from findings
        yield seen


def compact(path: str) -> tuple[int, int]:
    """Give free pages back to the disk. Bytes of the file before and after.

    Raises StoreUnavailable where the server leaves no gap for it.
    """
    with closing(_opened(path)) as db:
        before = os.path.getsize(path)
        db.execute("PRAGMA busy_timeout = 0")
        free = db.execute("PRAGMA freelist_count").fetchone()[0]
        for _ in range(0, free, VACUUMED):
            # A script, since `execute` would stop after the first page.
            _between(partial(db.executescript, f"PRAGMA incremental_vacuum({VACUUMED})"))
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return before, os.path.getsize(path)


def backup(path: str, target: str) -> int:
    """Copy the file as of one commit. Bytes written. Raises StoreUnavailable; FileExistsError."""
    if os.path.exists(target):
        raise FileExistsError(f"{target}: expected a path with nothing there")
    partial = f"{target}.partial"
    with closing(_opened(path)) as db:
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        with closing(sqlite3.connect(partial)) as copy:
            db.backup(copy)
    _synced(partial)
    os.rename(partial, target)
    _synced(str(Path(target).absolute().parent))
    return os.path.getsize(target)


def _opened(path: str) -> sqlite3.Connection:
    if not os.path.isfile(path):
        raise StoreUnavailable(f"{path}: there is no such file")
    db = connect(path)
    try:
        identify(path, db)
        version_of(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _structure(db: sqlite3.Connection) -> list[Finding]:
    try:
        lines = [line for (line,) in db.execute("PRAGMA integrity_check(20)").fetchall()]
    except sqlite3.DatabaseError as error:
        lines = [str(error)]
    return [Finding(None, line) for line in lines if line != "ok"]


def _snapshot(db: sqlite3.Connection, after: int) -> tuple[int | None, int, list[Finding]]:
    """Verify the sessions behind a sid for a while. The last sid seen, None behind the last."""
    findings: list[Finding] = []
    seen, until = 0, monotonic() + SNAPSHOT_S
    db.execute("BEGIN")
    try:
        waiting = waiting_in(db)
        view = View(db, partial(columns_of, waiting))
        if after < 0:
            findings += _counters(db)
        while monotonic() < until:
            columns = db.execute(
                f"{SESSIONS} WHERE s.sid > ? ORDER BY s.sid LIMIT 1", (after,)
            ).fetchone()
            if columns is None:
                return None, seen, findings
            after, seen = columns[0], seen + 1
            try:
                _session(view, columns)
            except (DamagedError, sqlite3.DatabaseError) as error:
                findings.append(Finding(f"{columns[1]}/{columns[2]}", str(error)))
    except sqlite3.DatabaseError as error:
        return None, seen, [*findings, Finding(None, f"sessions cannot be read: {error}")]
    finally:
        db.execute("ROLLBACK")
    return after, seen, findings


def _session(view: View, columns: tuple[object, ...]) -> None:
    """Raises DamagedError, or sqlite3.DatabaseError, where anything of a session is damaged."""
    sid, row = standing(view, columns)
    db, newest = view.db, 0
    ends = id_of(sid, 0), id_of(sid + 1, 0) - 1
    revisions: set[int] = set()
    query = f"SELECT {RECORD_COLUMNS} FROM records WHERE id BETWEEN ? AND ?"
    for found in (*db.execute(query, ends).fetchall(), *view.waiting(sid)):
        record_of(found)
        revisions.add(found[0] % REVISIONS)
    query = f"SELECT {CHECKPOINT_COLUMNS} FROM checkpoints WHERE sid = ?"
    for found in db.execute(query, (sid,)).fetchall():
        checkpoint, state, _ = checkpoint_of(found)
        newest = max(newest, checkpoint.revision)
        if state is not None:
            state_of(db, state, checkpoint.revision)
    if not newest:
        raise DamagedError("the session has no checkpoint")
    missing = [at for at in range(newest + 1, row.revision + 1) if at not in revisions]
    if missing:
        raise DamagedError(f"the record of revision {missing[0]} is missing")


def _counters(db: sqlite3.Connection) -> list[Finding]:
    """What the file counts, against what is there."""
    findings: list[Finding] = []
    (wrong,) = db.execute(REFS).fetchone()
    if wrong:
        findings.append(Finding(None, f"{wrong} states are counted wrongly"))
    counted = "SELECT tenant, model, version, live FROM counts WHERE live <> 0"
    actual = "SELECT tenant, model, version, count(*) FROM sessions GROUP BY 1, 2, 3"
    if set(db.execute(counted).fetchall()) != set(db.execute(actual).fetchall()):
        findings.append(Finding(None, "sessions are counted wrongly"))
    return findings


def _between(write: Callable[[], object]) -> None:
    """Write between two transactions of the server, which never leaves long between them."""
    until = monotonic() + BUSY_S
    while True:
        try:
            write()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > until:
                raise StoreUnavailable(f"the file could not be written: {error}") from error
            sleep(0.0002)


def _synced(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
