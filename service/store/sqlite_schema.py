"""The SQLite file: its connections, its tables and how older ones become today's."""

from __future__ import annotations

import os
import sqlite3
from functools import partial
from pathlib import Path

from service.store.store import StoreUnavailable

APPLICATION_ID = 0x6E746D73
LEAST_SQLITE = (3, 35)  # for RETURNING
BUSY_S = 30.0  # waited for another process's write, such as compact's
CACHE_KIB = 64 * 1024

VERSION_1 = """
CREATE TABLE sessions (
    sid INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    model TEXT NOT NULL,
    version TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    revision INTEGER NOT NULL, -- these three are behind where a later record says so
    step INTEGER NOT NULL,
    created_at REAL NOT NULL,
    committed_at REAL NOT NULL,
    idle_ttl_s REAL NOT NULL,
    forked_from TEXT,
    sum INTEGER NOT NULL, -- as everywhere: CRC-32 of the columns before
    due REAL NOT NULL, -- no later than its TTL runs out: when to look at it
    UNIQUE (tenant, id)
);
CREATE INDEX sessions_due ON sessions (due);
CREATE TABLE records (
    id INTEGER PRIMARY KEY, -- sid * 2^32 + revision: a session's records lie together
    kind TEXT NOT NULL,
    step INTEGER NOT NULL,
    count INTEGER NOT NULL,
    at REAL NOT NULL,
    key TEXT,
    fingerprint BLOB NOT NULL,
    rows BLOB NOT NULL,
    outputs BLOB NOT NULL,
    bundle INTEGER NOT NULL, -- of its fingerprint; see service/store/codec.py
    sum INTEGER NOT NULL
);
CREATE TABLE journal ( -- see service/store/sqlite_journal.py
    seq INTEGER PRIMARY KEY,
    id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    step INTEGER NOT NULL,
    count INTEGER NOT NULL,
    at REAL NOT NULL,
    key TEXT,
    fingerprint BLOB NOT NULL,
    rows BLOB NOT NULL,
    outputs BLOB NOT NULL,
    bundle INTEGER NOT NULL, -- of its fingerprint; see service/store/codec.py
    sum INTEGER NOT NULL
);
CREATE TABLE checkpoints (
    sid INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    name NOT NULL, -- a snapshot's, else the number 0
    step INTEGER NOT NULL,
    at REAL NOT NULL,
    key TEXT,
    fingerprint BLOB NOT NULL,
    state BLOB, -- the hash of one of states; null: the bundle's initial state
    bundle INTEGER NOT NULL,
    sum INTEGER NOT NULL,
    PRIMARY KEY (sid, revision, name)
) WITHOUT ROWID;
CREATE TABLE states (
    hash BLOB PRIMARY KEY, -- BLAKE2b of the body, so equal states are stored once
    blob INTEGER NOT NULL,
    refs INTEGER NOT NULL -- checkpoints that name it
) WITHOUT ROWID;
CREATE TABLE blobs (blob INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE tombstones (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    reason TEXT NOT NULL,
    until REAL NOT NULL,
    PRIMARY KEY (tenant, id)
) WITHOUT ROWID;
CREATE INDEX tombstones_until ON tombstones (until);
CREATE TABLE counts (
    model TEXT NOT NULL,
    version TEXT NOT NULL,
    live INTEGER NOT NULL,
    PRIMARY KEY (model, version)
) WITHOUT ROWID;
"""
# A tenant's sessions of one model are listed without a look at its others.
VERSION_2 = "CREATE INDEX sessions_model ON sessions (tenant, model, id);"
# A tenant's sessions are counted without a look at them.
VERSION_3 = """
DROP TABLE counts;
CREATE TABLE counts (
    tenant TEXT NOT NULL,
    model TEXT NOT NULL,
    version TEXT NOT NULL,
    live INTEGER NOT NULL,
    PRIMARY KEY (tenant, model, version)
) WITHOUT ROWID;
INSERT INTO counts SELECT tenant, model, version, count(*) FROM sessions GROUP BY 1, 2, 3;
"""
MIGRATIONS = (VERSION_1, VERSION_2, VERSION_3)  # the file's user_version counts those that have run


def connect(path: str, synchronous: str = "FULL") -> sqlite3.Connection:
    """A connection whose transactions are begun by hand, for one thread at a time."""
    uri = f"{Path(path).absolute().as_uri()}?mode=rw"
    db = sqlite3.connect(
        uri,
        uri=True,
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    db.text_factory = partial(str, encoding="utf-8", errors="replace")  # a checksum tells
    for pragma in (
        f"synchronous = {synchronous}",
        f"cache_size = -{CACHE_KIB}",
        "temp_store = MEMORY",
        "secure_delete = OFF",
        "wal_autocheckpoint = 0",  # service/store/sqlite_wal.py does it, off the commit's path
    ):
        db.execute(f"PRAGMA {pragma}")
    return db


def prepare(path: str) -> None:
    """Make the file where there is none, and bring its tables up to date.

    Raises StoreUnavailable for a file that is no store of ours, or a newer one's.
    """
    if sqlite3.sqlite_version_info < LEAST_SQLITE:
        raise StoreUnavailable(f"expected SQLite 3.35 or newer, got {sqlite3.sqlite_version}")
    if not os.path.exists(path):
        _create(path)
    db = connect(path)
    try:
        identify(path, db)
        if db.execute("PRAGMA page_count").fetchone()[0] == 0:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only takes before the first table
        db.execute("PRAGMA journal_mode = WAL")
        migrate(db, path)
    finally:
        db.close()


def migrate(db: sqlite3.Connection, path: str) -> None:
    """Run what is missing of MIGRATIONS, each with its number in one transaction."""
    for number in range(version_of(db, path), len(MIGRATIONS)):
        db.executescript(
            f"BEGIN IMMEDIATE;{MIGRATIONS[number]};PRAGMA application_id = {APPLICATION_ID};"
            f"PRAGMA user_version = {number + 1};COMMIT;"
        )


def version_of(db: sqlite3.Connection, path: str) -> int:
    """The version of the file's tables. Raises StoreUnavailable for a newer one than ours."""
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise StoreUnavailable(
            f"{path}: expected a store of version {len(MIGRATIONS)} or older, got {version}, "
            "which a newer release has written"
        )
    return version


def _create(path: str) -> None:
    folder = Path(path).parent
    folder.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    listing = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(listing)  # else a power cut may take the new file's name
    os.close(listing)


def identify(path: str, db: sqlite3.Connection) -> None:
    """Raises StoreUnavailable where the file is another application's."""
    found = db.execute("PRAGMA application_id").fetchone()[0]
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and found != APPLICATION_ID:
        raise StoreUnavailable(f"{path}: expected a store of sessions, got another SQLite file")
