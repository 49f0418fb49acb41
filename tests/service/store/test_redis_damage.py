"""What does not match its checksum in Redis is told, for its session alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from service.store.redis import RedisStore
from service.store.redis_format import PARTS, keys_of
from service.store.store import (
    Committed,
    Damaged,
    SessionKey,
    Stale,
    Stored,
)
from tests.service.store.redis_store import (
    KEY,
    created,
    step,
    stepped,
)


def spoilt(data: bytes) -> bytes:
    """One bit of it is another."""
    return data[:-1] + bytes([data[-1] ^ 1])


async def spoil_row(raw: Any, keys: dict[str, str]) -> None:
    await raw.hset(keys["session"], "row", spoilt(await raw.hget(keys["session"], "row")))


async def spoil_state(raw: Any, keys: dict[str, str]) -> None:
    for digest, state in (await raw.hgetall(keys["states"])).items():
        await raw.hset(keys["states"], digest, spoilt(state))


async def lose_state(raw: Any, keys: dict[str, str]) -> None:
    await raw.delete(keys["states"])


async def spoil_checkpoint(raw: Any, keys: dict[str, str]) -> None:
    await raw.lset(keys["points"], -1, spoilt(await raw.lindex(keys["points"], -1)))


async def spoil_record(raw: Any, keys: dict[str, str]) -> None:
    entries = await raw.xrange(keys["log"])
    await raw.delete(keys["log"])
    for number, fields in entries:
        data = fields[b"d"]
        await raw.xadd(keys["log"], {b"d": spoilt(data) if number == b"3-0" else data}, number)


async def lose_record(raw: Any, keys: dict[str, str]) -> None:
    await raw.xdel(keys["log"], "3-0")


async def replace_log(raw: Any, keys: dict[str, str]) -> None:
    await raw.set(keys["log"], "no log")


@pytest.mark.parametrize(
    "damage",
    [
        spoil_row,
        spoil_state,
        lose_state,
        spoil_checkpoint,
        spoil_record,
        lose_record,
        replace_log,
    ],
)
async def test_a_damaged_session_is_told_and_the_others_are_served(
    damage: Callable[[Any, dict[str, str]], Awaitable[None]],
    redis_store: RedisStore,
    raw_redis: Any,
):
    other = SessionKey("acme", "whole")
    row = await stepped(redis_store, await created(redis_store), 3)
    whole = await stepped(redis_store, await created(redis_store, other), 3)
    await damage(raw_redis, dict(zip(PARTS, keys_of(KEY), strict=True)))
    found = await redis_store.load(KEY)
    assert isinstance(found, Damaged) and found.detail
    assert isinstance(await redis_store.at(KEY, step=2), Damaged | None)
    outcomes = await redis_store.commit([step(replace(row, revision=1), key="k"), step(whole)])
    assert isinstance(outcomes[0], Stale | Damaged)
    assert outcomes[1] == Committed()
    assert isinstance(await redis_store.load(other), Stored)


async def test_a_damaged_record_is_not_shown_in_the_history_or_replayed(
    redis_store: RedisStore, raw_redis: Any
):
    row = await stepped(redis_store, await created(redis_store))
    change = step(row, key="k")
    assert await redis_store.commit([change]) == [Committed()]
    await spoil_record(raw_redis, dict(zip(PARTS, keys_of(KEY), strict=True)))
    assert isinstance(await redis_store.history(KEY, None, 10), Damaged)
    assert isinstance((await redis_store.commit([change]))[0], Damaged)


@pytest.mark.parametrize("part", ["log", "keys", "points", "states"])
async def test_a_change_that_fails_on_a_damaged_session_leaves_it_as_it_was(
    part: str, redis_store: RedisStore, raw_redis: Any
):
    row = await stepped(redis_store, await created(redis_store))
    names: dict[str, str] = dict(zip(PARTS, keys_of(KEY), strict=True))
    await raw_redis.set(names[part], "something else")
    before = {name: await raw_redis.dump(name) for name in names.values()}
    outcomes = await redis_store.commit([step(row, key="k", state=b"state")])
    assert [type(outcome) for outcome in outcomes] == [Damaged]
    assert {name: await raw_redis.dump(name) for name in names.values()} == before
