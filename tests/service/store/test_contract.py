"""The memory store and the SQLite store, with each durability, keep one contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.store.memory import MemoryStore
from service.store.sqlite import Durability, open_sqlite
from service.store.store import Retention, Store
from tests.service.store.contract import CASES, Case, Opened

SMALL_LOG = 1 << 18
KINDS = {
    "memory": None,
    "sqlite-sync": Durability("sync", full=False),
    "sqlite-async": Durability("async", async_window_s=0.01),
    "sqlite-off": Durability("off"),
}


@pytest.fixture(params=KINDS, ids=str)
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opened]:
    stores: list[Store] = []

    async def open_one(retention: Retention) -> Store:
        durability = KINDS[request.param]
        if durability is None:
            stores.append(MemoryStore(retention))
        else:
            path = str(tmp_path / f"{len(stores)}.db")
            stores.append(await open_sqlite(path, durability, retention, SMALL_LOG))
        return stores[-1]

    yield open_one
    for store in stores:
        await store.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_the_contract_holds(case: Case, opened: Opened) -> None:
    await case(opened)
