"""A Redis server that may lose commits is refused by the name of its setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.store.redis import open_redis
from service.store.redis_check import REQUIRED, StoreRefused
from service.store.store import (
    StoreUnavailable,
)
from tests.service.store.redis_server import RedisServer, running
from tests.service.store.redis_store import (
    KEY,
    PATIENT_S,
    TIMEOUT_S,
    created,
    opened,
    step,
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("appendonly", "no"),
        ("appendfsync", "everysec"),
        ("no-appendfsync-on-rewrite", "yes"),
        ("maxmemory-policy", "allkeys-lru"),
    ],
)
async def test_a_server_that_may_lose_commits_is_refused_by_name(
    name: str, value: str, redis_server: RedisServer, raw_redis: Any
):
    await raw_redis.config_set(name, value)
    try:
        with pytest.raises(StoreRefused, match=f"{name} {value}, expected {REQUIRED[name]}"):
            await open_redis(redis_server.url, timeout_s=PATIENT_S)
        with pytest.raises(StoreRefused, match=name):
            await open_redis(redis_server.url, timeout_s=PATIENT_S, trust_durability=True)
    finally:
        await raw_redis.config_set(name, REQUIRED[name])
    await (await open_redis(redis_server.url, timeout_s=PATIENT_S)).close()


async def test_a_server_that_came_back_with_other_settings_is_not_written_to(tmp_path: Path):
    with running(tmp_path) as server:
        async with opened(server, timeout_s=TIMEOUT_S) as store:
            row = await created(store)
            server.kill()
            server.settings["appendfsync"] = "everysec"
            server.start()
            for call in (lambda: store.load(KEY), lambda: store.commit([step(row)])):
                with pytest.raises(StoreUnavailable, match="everysec, expected always") as why:
                    await call()
                assert not why.value.sent


async def test_a_server_that_does_not_tell_is_taken_at_its_operators_word_alone(tmp_path: Path):
    with running(tmp_path, rename_command='CONFIG ""') as server:
        with pytest.raises(StoreRefused, match="appendfsync.*NTM_REDIS_TRUST_DURABILITY=1"):
            await open_redis(server.url, timeout_s=PATIENT_S)
        store = await open_redis(server.url, timeout_s=PATIENT_S, trust_durability=True)
        await created(store)
        await store.close()
        server.kill()
        server.settings["appendonly"] = "no"
        server.start()  # which INFO tells even so
        with pytest.raises(StoreRefused, match="appendonly no, expected yes"):
            await open_redis(server.url, timeout_s=PATIENT_S, trust_durability=True)


@pytest.mark.parametrize("durability", ["async", "off"])
async def test_weaker_durability_is_refused_on_a_shared_store(durability: str):
    with pytest.raises(StoreRefused, match=f"NTM_DURABILITY={durability}"):
        await open_redis("redis://127.0.0.1:1/0", durability)


async def test_a_server_that_is_not_there_is_unavailable_at_start():
    with pytest.raises(StoreUnavailable):
        await open_redis("redis://127.0.0.1:1/0", timeout_s=TIMEOUT_S)


async def test_the_room_of_redis_is_what_its_maxmemory_leaves(tmp_path: Path):
    with running(tmp_path) as server:
        async with opened(server) as store:
            unlimited = await store.room()
            assert unlimited is not None and (unlimited.free, unlimited.limit) == (None, None)
            assert unlimited.used > 100_000
            server.ask("CONFIG", "SET", "maxmemory", "64mb")
            room = await store.room()
    assert room is not None and room.limit == 64 << 20 and room.free is not None
    assert room.used + room.free == room.limit
