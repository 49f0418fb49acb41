"""The Redis store: one script a change, atomic among servers, on keys of one slot."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot

from service.store.redis import RedisStore
from service.store.redis_format import PARTS, keys_of
from service.store.store import (
    Change,
    Committed,
    SessionKey,
    Stale,
    Stored,
)
from tests.service.store.redis_server import RedisServer
from tests.service.store.redis_store import (
    KEY,
    created,
    creation,
    opened,
    replay_of,
    step,
    stepped,
)


async def test_of_two_servers_one_commits_a_revision_and_the_other_is_stale(
    redis_server: RedisServer, redis_store: RedisStore
):
    async with opened(redis_server) as rival:
        row = await created(redis_store)
        for at in range(30):
            changes = [step(row, state=f"{owner} {at}".encode()) for owner in ("one", "two")]
            outcomes = await asyncio.gather(
                redis_store.commit(changes[:1]), rival.commit(changes[1:])
            )
            assert sorted(type(outcome[0]).__name__ for outcome in outcomes) == [
                "Committed",
                "Stale",
            ]
            winner = [outcome for (outcome,) in outcomes].index(Committed())
            stored = await redis_store.load(KEY)
            assert (
                isinstance(stored, Stored)
                and stored.checkpoint.state
                == (changes[winner].checkpoint or pytest.fail("no checkpoint")).state
            )
            row = changes[winner].row


async def test_of_two_servers_with_one_key_one_commits_and_the_other_gets_its_reply(
    redis_server: RedisServer, redis_store: RedisStore
):
    async with opened(redis_server) as rival:
        row = await created(redis_store)
        for at in range(30):
            change = step(row, key=f"key {at}")
            outcomes = await asyncio.gather(redis_store.commit([change]), rival.commit([change]))
            assert sorted(outcomes, key=str) == [[Committed()], [replay_of(change)]]
            row = change.row


async def test_one_stale_change_does_not_keep_the_others_of_its_tick(redis_store: RedisStore):
    keys = [SessionKey("acme", f"s{at}") for at in range(3)]
    rows = [await created(redis_store, key) for key in keys]
    await stepped(redis_store, rows[1])
    outcomes = await redis_store.commit([step(row) for row in rows])
    assert [type(outcome) for outcome in outcomes] == [Committed, Stale, Committed]


async def test_a_change_meant_for_an_earlier_session_of_the_id_is_stale(
    redis_store: RedisStore, raw_redis: Any
):
    old = await created(redis_store)
    ended = Change(old, (old.incarnation, old.revision), ended="deleted")
    assert await redis_store.commit([ended]) == [Committed()]
    anew = creation(incarnation="second")
    assert await redis_store.commit([anew]) == [Committed()]
    assert await redis_store.commit([step(old)]) == [Stale(anew.row)]
    assert not await raw_redis.exists(keys_of(KEY)[-1])  # the first one's tombstone


async def test_the_changes_of_a_tick_are_one_transaction(redis_store: RedisStore, raw_redis: Any):
    rows = [await created(redis_store, SessionKey("acme", f"s{at}")) for at in range(3)]
    before = (await raw_redis.info("commandstats")).get("cmdstat_exec", {"calls": 0})["calls"]
    assert await redis_store.commit([step(row) for row in rows]) == [Committed()] * 3
    stats = await raw_redis.info("commandstats")
    assert stats["cmdstat_exec"]["calls"] == before + 1


async def test_callers_at_the_same_time_each_get_their_own_answer(redis_store: RedisStore):
    rows = [await created(redis_store, SessionKey("acme", f"s{at}")) for at in range(200)]
    ahead = await stepped(redis_store, rows[70])
    outcomes = await asyncio.gather(*(redis_store.commit([step(row)]) for row in rows))
    assert outcomes[70] == [Stale(ahead)] and outcomes.count([Committed()]) == 199
    found = await asyncio.gather(*(redis_store.row(row.key) for row in rows))
    assert found == [step(row).row for row in rows]


async def test_scripts_that_the_server_forgot_are_loaded_again(
    redis_store: RedisStore, raw_redis: Any
):
    row = await created(redis_store)
    await raw_redis.script_flush()
    row = await stepped(redis_store, row)
    await raw_redis.script_flush()
    assert await redis_store.row(KEY) == row


@pytest.mark.parametrize(
    "key", [KEY, SessionKey("", "s"), SessionKey("{}", "}"), SessionKey("a/b", "c{d}e")]
)
def test_all_keys_of_a_session_are_in_one_slot(key: SessionKey):
    keys = keys_of(key)
    assert len({key_slot(name.encode()) for name in keys}) == 1
    assert len(set(keys)) == len(PARTS)


def test_sessions_that_look_alike_have_keys_of_their_own():
    pairs = [("a/b", "c"), ("a", "b/c"), ("", "a/b/c"), ("a%2Fb", "c"), ("a}", "c"), ("a", "}c")]
    names = [name for pair in pairs for name in keys_of(SessionKey(*pair))]
    assert len(set(names)) == len(names)


async def test_the_scripts_touch_no_key_but_those_they_are_given(
    redis_server: RedisServer, redis_store: RedisStore
):
    client = Redis.from_url(redis_server.url, protocol=2)
    async with client.monitor() as monitor:
        row = await created(redis_store)
        for revision in range(2, 12):
            change = step(row, f"key {revision}", b"state" if revision % 2 else None)
            await redis_store.commit([change])
            row = change.row
        await redis_store.load(KEY)
        await redis_store.at(KEY, step=3)
        await redis_store.history(KEY, 9, 3)
        await redis_store.snapshots(KEY)
        await redis_store.commit([Change(row, (row.incarnation, row.revision), ended="deleted")])
        await redis_store.row(KEY)
        await client.echo("the end")
        touched: set[str] = set()
        commands: set[str] = set()
        async for told in monitor.listen():
            words: list[str] = told["command"].split(" ")
            if words[0].upper() == "ECHO":
                break
            if told["client_type"] == "lua":
                commands.add(words[0])
                touched.update(words[1:] if words[0] == "UNLINK" else words[1:2])
    await client.aclose()
    assert touched <= set(keys_of(KEY))
    assert {"HMGET", "XADD", "XTRIM", "RPUSH", "UNLINK", "LINDEX"} <= commands
