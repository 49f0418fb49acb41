"""The Redis store keeps the contract of every store, on one server and on a cluster of three."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from service.store.store import Retention, Store
from tests.service.store.contract import CASES, Case, Opened
from tests.service.store.redis_cluster import cluster
from tests.service.store.redis_server import RedisServer
from tests.service.store.redis_store import opened


@pytest.fixture(scope="module", params=["one server", "a cluster"])
def servers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[RedisServer]]:
    if request.param == "one server":
        yield [request.getfixturevalue("redis_server")]
    else:
        with cluster(tmp_path_factory.mktemp("cluster")) as nodes:
            yield nodes


@pytest.fixture
async def empty(servers: list[RedisServer]) -> AsyncIterator[Opened]:
    """A way to open the store on servers that hold nothing."""
    for server in servers:
        assert server.ask("FLUSHALL") == b"+OK\r\n"
    async with AsyncExitStack() as stack:

        async def open_one(retention: Retention) -> Store:
            return await stack.enter_async_context(opened(servers[-1], retention=retention))

        yield open_one


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_the_contract_holds(case: Case, empty: Opened) -> None:
    await case(empty)
