"""A Redis server a module, emptied for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from service.store.redis import RedisStore
from tests.service.store.redis_server import RedisServer, running
from tests.service.store.redis_store import opened


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
async def raw_redis(redis_server: RedisServer) -> AsyncIterator[Any]:
    """What reads and writes the empty server past the store."""
    async with Redis.from_url(redis_server.url, protocol=2) as client:
        await client.flushall()
        yield client


@pytest.fixture
async def redis_store(redis_server: RedisServer, raw_redis: Any) -> AsyncIterator[RedisStore]:
    async with opened(redis_server) as store:
        yield store
