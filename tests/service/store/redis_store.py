"""Changes of a session, step by step, and a Redis store to commit them to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from msgspec.structs import replace

from service.store.redis import RedisStore, open_redis
from service.store.store import (
    Change,
    Checkpoint,
    Committed,
    Record,
    Replayed,
    Retention,
    SessionKey,
    SessionRow,
    StoreUnavailable,
)
from tests.service.store.redis_server import RedisServer

T = TypeVar("T")
KEY = SessionKey("acme", "s")
TIMEOUT_S = 0.4
PATIENT_S = 20.0


@asynccontextmanager
async def opened(
    server: RedisServer, timeout_s: float = PATIENT_S, retention: Retention | None = None
) -> AsyncIterator[RedisStore]:
    store = await open_redis(server.url, retention=retention, timeout_s=timeout_s)
    try:
        yield store
    finally:
        await store.close()


def new_row(key: SessionKey = KEY, incarnation: str = "first") -> SessionRow:
    now = time.time()
    return SessionRow(*key, "copy", "1", "bundle", incarnation, 1, 0, now, now, 3600.0)


def creation(key: SessionKey = KEY, incarnation: str = "first") -> Change:
    state = Checkpoint(1, 0, f"state of {key.id}".encode())
    return Change(new_row(key, incarnation), None, Record("create", 1, 0), state)


def step(row: SessionRow, key: str | None = None, state: bytes | None = None) -> Change:
    """One more row; with a checkpoint where a state is given."""
    after = replace(row, revision=row.revision + 1, step=row.step + 1)
    record = Record("step", after.revision, after.step, b"in", b"out", 1, key, b"print")
    checkpoint = None if state is None else Checkpoint(after.revision, after.step, state)
    return Change(after, (row.incarnation, row.revision), record, checkpoint)


async def created(store: RedisStore, key: SessionKey = KEY) -> SessionRow:
    change = creation(key)
    assert await store.commit([change]) == [Committed()]
    return change.row


async def stepped(store: RedisStore, row: SessionRow, times: int = 1) -> SessionRow:
    for _ in range(times):
        change = step(row)
        assert await store.commit([change]) == [Committed()]
        row = change.row
    return row


async def until_it_answers(call: Callable[[], Awaitable[T]]) -> T:
    """The answer, once the store is back."""
    async with asyncio.timeout(PATIENT_S):
        while True:
            try:
                return await call()
            except StoreUnavailable:
                await asyncio.sleep(0.01)


def replay_of(change: Change) -> Replayed:
    """What the change is answered once it is committed."""
    assert change.record is not None
    return Replayed(change.record)
