"""A SQLite store for a test, and a look into its file past the store."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from service.store.sqlite import Durability, SqliteStore, open_sqlite
from service.store.store import Retention

SMALL_LOG = 1 << 18
QUICK = Durability("sync", full=False)


@asynccontextmanager
async def opened(
    path: object, durability: Durability = QUICK, retention: Retention | None = None
) -> AsyncIterator[SqliteStore]:
    store = await open_sqlite(str(path), durability, retention, SMALL_LOG)
    try:
        yield store
    finally:
        await store.close()


@contextmanager
def inside(path: object) -> Iterator[sqlite3.Connection]:
    """The file's tables, written at the end."""
    db = sqlite3.connect(str(path))
    try:
        with db:
            yield db
    finally:
        db.close()
