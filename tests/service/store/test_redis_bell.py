"""What one server commits, another one that follows the session hears of."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from msgspec.structs import replace

from service.store.redis import RedisStore
from service.store.store import Change, Checkpoint, Committed, SessionKey
from tests.service.store.redis_server import RedisServer, running
from tests.service.store.redis_store import KEY, created, creation, opened, step, stepped

OTHER = SessionKey("acme", "other")


class Ears:
    """Counts what is heard of each session."""

    def __init__(self, store: RedisStore, *keys: SessionKey) -> None:
        self.heard: Counter[tuple[SessionKey, bytes]] = Counter()
        self._changed = asyncio.Event()
        for key in keys:
            store.bell.follow(key, self._hear)

    def _hear(self, key: SessionKey, told: bytes) -> None:
        self.heard[key, told] += 1
        self._changed.set()

    async def until(self, key: SessionKey, told: bytes, times: int) -> None:
        async with asyncio.timeout(20):
            while self.heard[key, told] < times:
                self._changed.clear()
                await self._changed.wait()


async def test_every_committed_mutation_rings_once_and_nothing_else_does(
    redis_store: RedisStore, redis_server: RedisServer
):
    async with opened(redis_server) as other:
        ears = Ears(other, KEY, OTHER)
        await ears.until(KEY, b"", 1)  # it is subscribed
        await ears.until(OTHER, b"", 1)
        row = await created(redis_store)
        await ears.until(KEY, b"", 2)
        row = await stepped(redis_store, row, 3)
        await ears.until(KEY, b"", 5)
        stale = replace(step(row), expected=("first", 1))
        assert await redis_store.commit([stale]) != [Committed()]
        only = Change(row, (row.incarnation, row.revision), None, Checkpoint(row.revision, 3, b"s"))
        assert await redis_store.commit([only]) == [Committed()]
        ended = Change(row, (row.incarnation, row.revision), ended="deleted")
        assert await redis_store.commit([ended]) == [Committed()]
        await ears.until(KEY, b"", 6)
        redis_store.bell.ring(KEY, b"told")
        await ears.until(KEY, b"told", 1)
        assert ears.heard == {(KEY, b""): 6, (OTHER, b""): 1, (KEY, b"told"): 1}


async def test_one_who_follows_no_longer_hears_nothing(
    redis_store: RedisStore, redis_server: RedisServer
):
    async with opened(redis_server) as other:
        ears = Ears(other, KEY, OTHER)
        await ears.until(KEY, b"", 1)
        other.bell.unfollow(KEY)
        await created(redis_store)
        other.bell.ring(OTHER, b"after it")
        await ears.until(OTHER, b"after it", 1)
        assert (ears.heard[KEY, b""], ears.heard[OTHER, b"after it"]) == (1, 1)
        other.bell.unfollow(OTHER)
        assert await other.commit([creation(OTHER)]) == [Committed()]
        again = Ears(other, KEY)
        await again.until(KEY, b"", 1)


async def test_after_the_server_was_away_everybody_looks_again(tmp_path: Path):
    with running(tmp_path) as server:
        async with opened(server) as store:
            ears = Ears(store, KEY, OTHER)
            await ears.until(OTHER, b"", 1)
            before = Counter(ears.heard)
            await asyncio.to_thread(server.kill)
            store.bell.ring(KEY, b"into the void")
            await asyncio.to_thread(server.start)
            for key in (KEY, OTHER):
                await ears.until(key, b"", before[key, b""] + 1)
            await created(store)
            await ears.until(KEY, b"", before[KEY, b""] + 2)
