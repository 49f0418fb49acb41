"""The Redis store on a cluster of three real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot

from service.store.redis import open_redis
from service.store.redis_check import StoreRefused
from service.store.redis_format import keys_of
from service.store.store import (
    Change,
    Committed,
    SessionKey,
    Stored,
    StoreUnavailable,
)
from tests.service.store.redis_cluster import cluster
from tests.service.store.redis_server import RedisServer
from tests.service.store.redis_store import (
    PATIENT_S,
    TIMEOUT_S,
    created,
    creation,
    opened,
    step,
    stepped,
)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    with cluster(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


async def test_a_cluster_keeps_sessions_on_all_its_servers(nodes: list[RedisServer]):
    async with opened(nodes[1]) as store:
        assert (
            len(await store.commit([creation(SessionKey("t", f"s{at}")) for at in range(30)])) == 30
        )
        rows = await store.rows("t", None, 100, None)
        assert len(rows) == 30 == await store.count() == await store.count(("copy", "1"))
        outcomes = await store.commit([step(row, state=row.id.encode()) for row in rows])
        assert outcomes == [Committed()] * 30
        for row in rows:
            found = await store.load(row.key)
            assert isinstance(found, Stored) and found.checkpoint.state == row.id.encode()
        assert all(int(node.ask("DBSIZE")[1:]) > 30 for node in nodes)
        for row in rows:
            ended = Change(row, (row.incarnation, 2), ended="deleted")
            assert await store.commit([ended]) == [Committed()]
        assert await store.count() == 0


class Move:
    """A slot that goes from one server of a cluster to another, bit by bit."""

    def __init__(self, nodes: list[RedisServer], key: str) -> None:
        self.nodes, self.slot = nodes, str(key_slot(key.encode()))
        (self.source,) = (
            node for node in nodes if int(node.ask("CLUSTER", "COUNTKEYSINSLOT", self.slot)[1:])
        )
        self.target = next(node for node in nodes if node is not self.source)

    def begin(self) -> None:
        self.target.ask("CLUSTER", "SETSLOT", self.slot, "IMPORTING", self._name(self.source))
        self.source.ask("CLUSTER", "SETSLOT", self.slot, "MIGRATING", self._name(self.target))

    async def carry(self) -> None:
        async with Redis.from_url(self.source.url, protocol=2) as client:
            found: Any = await client.execute_command("CLUSTER", "GETKEYSINSLOT", self.slot, 100)
            place = ("127.0.0.1", self.target.port, "", 0, 5000)
            await client.execute_command("MIGRATE", *place, "KEYS", *found)

    def end(self) -> None:
        for node in self.nodes:
            node.ask("CLUSTER", "SETSLOT", self.slot, "NODE", self._name(self.target))

    def _name(self, node: RedisServer) -> str:
        return node.ask("CLUSTER", "MYID").split(b"\r\n")[1].decode()


async def test_a_session_whose_slot_moves_waits_and_is_found_where_it_went(
    nodes: list[RedisServer],
):
    async with opened(nodes[0]) as store, opened(nodes[0], timeout_s=TIMEOUT_S) as hasty:
        row = await created(store, SessionKey("acme", "moving"))
        move = Move(nodes, keys_of(row.key)[0])
        move.begin()
        with pytest.raises(StoreUnavailable) as caught:  # some of its keys, but not all, are there
            await hasty.commit([step(row)])
        assert not caught.value.sent
        waiting = asyncio.ensure_future(stepped(store, row))
        await move.carry()
        assert not waiting.done()
        move.end()
        row = await waiting
        assert await hasty.row(row.key) == row
        assert row.revision == 2


async def test_a_list_whose_slot_moves_is_asked_for_where_it_is(nodes: list[RedisServer]):
    async with opened(nodes[0]) as store:
        rows = [await created(store, SessionKey("listed", f"s{at}")) for at in range(3)]
        move = Move(nodes, "ntm:tenant:listed")
        move.begin()
        await move.carry()
        assert await store.rows("listed", None, 10, None) == rows
        move.end()
        assert await store.rows("listed", None, 10, None) == rows


async def test_a_server_of_a_cluster_that_may_lose_commits_is_refused(nodes: list[RedisServer]):
    nodes[2].ask("CONFIG", "SET", "appendfsync", "no")
    try:
        with pytest.raises(StoreRefused, match="appendfsync no, expected always"):
            await open_redis(nodes[0].url, timeout_s=PATIENT_S)
    finally:
        nodes[2].ask("CONFIG", "SET", "appendfsync", "always")


async def test_the_room_of_a_cluster_is_that_of_its_fullest_server(nodes: list[RedisServer]):
    async with opened(nodes[0]) as store:
        for node, limit in zip(nodes, ("64mb", "32mb", "48mb"), strict=True):
            node.ask("CONFIG", "SET", "maxmemory", limit)
        room = await store.room()
        for node in nodes:
            node.ask("CONFIG", "SET", "maxmemory", "0")
    assert room is not None and room.limit == 32 << 20
