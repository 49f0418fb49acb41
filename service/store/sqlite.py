"""Sessions in one SQLite file: the store of a server of its own.

commit, load, at, ... -> sqlite_writer, the thread
    -> sqlite_ledger: compares and decides -> sqlite_pool, sqlite_journal: write in bulk
    -> sqlite_reads: answers;  sqlite_trim: what goes;  sqlite_wal: SQLite's log kept short
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from service.store import sqlite_reads as reads
from service.store.codec import DamagedError
from service.store.sqlite_ledger import Ledger
from service.store.sqlite_lock import FileLock
from service.store.sqlite_schema import connect, prepare
from service.store.sqlite_trim import expired
from service.store.sqlite_wal import LOG_BYTES, LogKeeper, grow_log
from service.store.sqlite_writer import Kind, Work, Writer, is_here
from service.store.store import (
    Change,
    Checkpoint,
    Damaged,
    Gone,
    Outcome,
    Record,
    Retention,
    Room,
    SessionKey,
    SessionRow,
    Stored,
    StoreUnavailable,
)

OFF_WINDOW_S = 5.0  # of acknowledged changes that a crash may lose when durability is off


class Durability(msgspec.Struct, frozen=True):
    """What an outcome waits for, as NTM_DURABILITY, NTM_SQLITE_SYNC and NTM_ASYNC_WINDOW_S say."""

    kind: Literal["sync", "async", "off"] = "sync"
    full: bool = True
    async_window_s: float = 0.1

    @property
    def window_s(self) -> float:
        """Seconds that a transaction stays open after its first change."""
        return {"sync": 0.0, "async": self.async_window_s, "off": OFF_WINDOW_S}[self.kind]

    @property
    def synchronous(self) -> str:
        """SQLite's setting. With NORMAL a power cut may take the last commits, and no more."""
        return "NORMAL" if self.kind == "off" or not self.full else "FULL"


async def open_sqlite(
    path: str,
    durability: Durability | None = None,
    retention: Retention | None = None,
    log_bytes: int = LOG_BYTES,
    wait_s: float = 0.0,
) -> SqliteStore:
    """Open the file, made where there is none. Waits for another server that is about to let go
    of it. Raises StoreUnavailable."""
    durability, retention = durability or Durability(), retention or Retention()
    try:
        parts = await asyncio.to_thread(_open, path, durability, retention, log_bytes, wait_s)
    except (OSError, sqlite3.Error) as error:
        raise StoreUnavailable(f"{path}: the store cannot be opened: {error}") from error
    return SqliteStore(parts, durability, retention)


class Parts(NamedTuple):
    """What an open file consists of."""

    path: str
    lock: FileLock
    db: sqlite3.Connection
    ledger: Ledger
    log: LogKeeper


def _open(
    path: str, durability: Durability, retention: Retention, log_bytes: int, wait_s: float
) -> Parts:
    path = os.path.realpath(path)
    synchronous = durability.synchronous
    with ExitStack() as undo:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, wait_s)
        undo.callback(lock.release)
        prepare(path)
        db = connect(path, synchronous)
        undo.callback(db.close)
        grow_log(db, path, log_bytes)
        ledger = Ledger(db, retention)
        log = LogKeeper(connect(path, synchronous))
        undo.pop_all()
    return Parts(path, lock, db, ledger, log)


class SqliteStore:
    """A `Store` in a file. Lives in one event loop; `open_sqlite` makes it."""

    name = "sqlite"
    shared = False
    bell = None

    def __init__(self, parts: Parts, durability: Durability, retention: Retention) -> None:
        self._parts, self._retention = parts, retention
        self._writer = Writer(parts.db, parts.ledger, parts.log, durability.window_s)
        self._closed = False

    async def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        """See `Store`."""
        return await self._submit("commit", list(changes))

    async def load(self, key: SessionKey) -> Stored | Gone | Damaged:
        """See `Store`."""
        return await self._read(reads.load, key, self._retention.replies)

    async def row(self, key: SessionKey) -> SessionRow | Gone | Damaged:
        """See `Store`."""
        found = await self._read(reads.find, key)
        return found if isinstance(found, Gone | Damaged) else found[1]

    async def at(
        self,
        key: SessionKey,
        *,
        step: int | None = None,
        revision: int | None = None,
        snapshot: str | None = None,
    ) -> Stored | Gone | Damaged | None:
        """See `Store`."""
        return await self._read(reads.at, key, step, revision, snapshot)

    async def history(
        self, key: SessionKey, before: int | None, limit: int
    ) -> list[Record] | Gone | Damaged:
        """See `Store`."""
        return await self._read(reads.history, key, before, limit)

    async def snapshots(self, key: SessionKey) -> list[Checkpoint] | Gone | Damaged:
        """See `Store`."""
        return await self._read(reads.snapshots, key)

    async def rows(
        self, tenant: str, after: str | None, limit: int, model: str | None
    ) -> list[SessionRow]:
        """See `Store`. A damaged row is passed over."""
        return await self._call("read", reads.rows, tenant, after, limit, model)

    async def expired(self, now: float, limit: int) -> list[SessionRow]:
        """See `Store`."""
        return await self._call("write", expired, now, limit)

    async def count(self, model: tuple[str, str] | None = None) -> int:
        """See `Store`."""
        counts = self._parts.ledger.counts
        return sum(n for (_, *of), n in counts.items() if model in (None, tuple(of)))

    async def usage(self, tenant: str) -> dict[tuple[str, str], int]:
        """See `Store`."""
        counts = self._parts.ledger.counts
        return {(model, version): n for (t, model, version), n in counts.items() if t == tenant}

    async def tenants(self) -> list[str]:
        """See `Store`."""
        return sorted({tenant for tenant, _, _ in self._parts.ledger.counts})

    async def room(self) -> Room | None:
        """See `Store`: the file and its log, and the disk that they are on."""
        return await asyncio.to_thread(_room_of, self._parts.path)

    async def close(self) -> None:
        """See `Store`."""
        if self._closed:
            return
        self._closed = True
        try:
            await self._writer.stop()
        finally:
            await asyncio.to_thread(self._let_go)

    def _let_go(self) -> None:
        self._parts.log.stop()
        self._parts.db.close()
        self._parts.lock.release()

    def _submit(
        self, kind: Kind, changes: Sequence[Change] = (), work: Work | None = None
    ) -> asyncio.Future[Any]:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        return self._writer.submit(kind, changes, work)

    async def _call(self, kind: Kind, function: Callable[..., Any], *given: Any) -> Any:
        try:
            return await self._submit(kind, work=lambda view: function(view, *given))
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the store failed: {error}") from error

    async def _read(self, function: Callable[..., Any], *given: Any) -> Any:
        """Of one session, which may be damaged."""
        try:
            return await self._submit("read", work=lambda view: function(view, *given))
        except DamagedError as error:
            return Damaged(str(error))
        except sqlite3.Error as error:
            if is_here(error):
                return Damaged(f"the file is damaged where the session is: {error}")
            raise StoreUnavailable(f"the store failed: {error}") from error


def _room_of(path: str) -> Room:
    try:
        files = [file for name in (path, f"{path}-wal") if (file := Path(name)).exists()]
        disk = os.statvfs(path)
        used = sum(file.stat().st_size for file in files)
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error}") from error
    return Room(used, disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)
