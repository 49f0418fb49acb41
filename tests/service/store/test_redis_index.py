"""Listing, expiry and count of sessions in Redis, and what a crash leaves of them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from msgspec.structs import replace

from service.store.redis import RedisStore
from service.store.redis_format import keys_of
from service.store.redis_index import EXPIRY, Entry, enter, tag_of
from service.store.store import (
    Change,
    Committed,
    Gone,
    Retention,
    SessionKey,
    Stale,
    Stored,
)
from tests.service.store.redis_server import RedisServer
from tests.service.store.redis_store import (
    KEY,
    PATIENT_S,
    created,
    creation,
    opened,
    step,
)


async def test_a_tombstone_tells_why_for_its_time(redis_server: RedisServer, raw_redis: Any):
    retention = Retention(tombstone_s=0.3)
    async with opened(redis_server, retention=retention) as store:
        row = await created(store)
        ended = Change(row, (row.incarnation, row.revision), ended="expired")
        assert await store.commit([ended]) == [Committed()]
        assert await store.load(KEY) == Gone("expired")
        assert (await store.commit([step(row)])) == [Gone("expired")]
        assert await raw_redis.keys("ntm:{*") == [
            keys_of(KEY)[-1].encode()
        ]  # and nothing else is left
        async with asyncio.timeout(PATIENT_S):
            while await store.row(KEY) != Gone(None):
                await asyncio.sleep(0.02)


async def test_idle_sessions_are_due_at_their_time_and_not_before(redis_store: RedisStore):
    keys = [SessionKey(tenant, f"s{at}") for at, tenant in enumerate(("a", "b", "c", "d", "e"))]
    rows = {key: await created(redis_store, key) for key in keys}
    fresh = step(rows[keys[1]])
    fresh = Change(replace(fresh.row, committed_at=time.time() + 100), fresh.expected, fresh.record)
    assert await redis_store.commit([fresh]) == [Committed()]
    due_at = max(row.expires_at for row in rows.values())
    assert await redis_store.expired(min(row.expires_at for row in rows.values()) - 1, 10) == []
    due = await redis_store.expired(due_at, 10)
    assert {row.key for row in due} == {*keys} - {keys[1]}
    assert len(await redis_store.expired(due_at, 2)) == 2
    for row in due:
        ended = Change(row, (row.incarnation, row.revision), ended="expired")
        assert await redis_store.commit([ended]) == [Committed()]
    assert await redis_store.expired(due_at, 10) == []
    assert await redis_store.expired(fresh.row.expires_at, 10) == [fresh.row]


async def test_listing_goes_by_id_in_pages_over_many_sessions(redis_store: RedisStore):
    names = sorted({f"{at % 7}-{at}" for at in range(150)} | {"a", "a-", "a.b", "ab"})
    await redis_store.commit([creation(SessionKey("acme", name)) for name in names])
    seen: list[str] = []
    while page := await redis_store.rows("acme", seen[-1] if seen else None, 20, None):
        seen += [row.id for row in page]
    assert seen == names


async def test_what_a_crash_left_listed_is_neither_shown_nor_kept(
    redis_store: RedisStore, raw_redis: Any
):
    row = await created(redis_store)
    minutes_ago, now = int(time.time() - 300) * 1000, int(time.time() * 1000)
    for name, born in (("s", minutes_ago), ("gone", minutes_ago), ("about to be", now)):
        ghost = Entry("acme", name, f"{born}-ghost")
        for command in enter(ghost, tag_of("copy", "1"), 5.0):
            await raw_redis.execute_command(*command.args)
    assert await redis_store.rows("acme", None, 10, None) == [row]
    assert await redis_store.expired(row.expires_at, 10) == [row]
    assert await redis_store.count() == 2  # itself, and the one that may be about to be created
    assert await redis_store.count(("copy", "1")) == 2
    assert await raw_redis.zcard("ntm:tenant:acme") == 2


async def test_a_session_that_is_not_listed_is_listed_when_it_is_loaded(
    redis_store: RedisStore, raw_redis: Any
):
    row = await created(redis_store)
    await raw_redis.delete(EXPIRY, "ntm:tenant:acme", "ntm:model:copy/1")
    assert await redis_store.rows("acme", None, 10, None) == []
    assert isinstance(await redis_store.load(KEY), Stored)
    assert await redis_store.rows("acme", None, 10, None) == [row]
    assert await redis_store.expired(row.expires_at, 10) == [row]
    assert await redis_store.count(("copy", "1")) == 1


async def test_a_creation_that_came_second_leaves_no_trace_in_the_lists(redis_store: RedisStore):
    row = await created(redis_store)
    assert await redis_store.commit([creation(incarnation="second")]) == [Stale(row)]
    assert await redis_store.rows("acme", None, 10, None) == [row]
    assert await redis_store.count() == 1 == await redis_store.count(("copy", "1"))
    ended = Change(row, (row.incarnation, row.revision), ended="deleted")
    assert await redis_store.commit([ended]) == [Committed()]
    assert await redis_store.count() == 0 == await redis_store.count(("copy", "1"))
