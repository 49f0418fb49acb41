"""A session put off to the store, or loaded from it, while a call on it waits for the store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from service.requests import Fork, Guard, Point, Restore, Snapshot
from service.results import Moved
from service.store.memory import MemoryStore
from tests.service.engine.conftest import MakeDriver
from tests.service.engine.driver import Driver, rows_of

Meanwhile = Callable[[], Awaitable[object]]


class Interrupted:
    """A store in memory. What `meanwhile` has for a method happens before its next call."""

    def __init__(self, shared: bool) -> None:
        self._store = MemoryStore()
        self.shared = shared
        self.meanwhile: dict[str, Meanwhile] = {}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in self.meanwhile:
            return found

        async def interrupted(*given: Any, **named: Any) -> Any:
            await self.meanwhile.pop(name)()
            return await found(*given, **named)

        return interrupted


async def begun(make_driver: MakeDriver, shared: bool) -> tuple[Driver, Interrupted]:
    """An engine with a session "s" that has stepped three rows twice."""
    store = Interrupted(shared)
    driver = make_driver(store=store)
    await driver.create("s")
    for seed in (1, 2):
        await driver.stepped("s", rows_of(seed, 3))
    return driver, store


def putting_off(driver: Driver) -> Meanwhile:
    """The session "s" leaves the engine, as a full host makes it do."""

    async def put_off() -> None:
        session = driver.engine.life.held(driver.tenant, "s")
        assert session is not None
        driver.engine.life.forget(session)

    return put_off


async def test_its_state_is_read_from_the_store(make_driver: MakeDriver) -> None:
    driver, store = await begun(make_driver, shared=True)
    before = await driver.memory("s")
    store.meanwhile["row"] = putting_off(driver)

    assert await driver.memory("s") == before
    assert not store.meanwhile


async def test_a_snapshot_is_of_where_it_stood(make_driver: MakeDriver) -> None:
    driver, store = await begun(make_driver, shared=False)
    before = await driver.memory("s")
    store.meanwhile["snapshots"] = putting_off(driver)

    await driver.call(Snapshot(driver.tenant, "s", "kept", Guard()))

    await driver.stepped("s", rows_of(3, 3))
    await driver.call(Restore(driver.tenant, "s", Point(snapshot="kept"), Guard()))
    assert (await driver.memory("s")).tensors == before.tensors
    assert not store.meanwhile


async def test_a_fork_goes_on_from_where_it_stood(make_driver: MakeDriver) -> None:
    driver, store = await begun(make_driver, shared=False)
    before = await driver.memory("s")
    store.meanwhile["load"] = putting_off(driver)

    await driver.call(Fork(driver.tenant, "s", Point(), "t", None, Guard("key", b"body")))

    assert (await driver.memory("t")).tensors == before.tensors
    assert not store.meanwhile


@pytest.mark.parametrize("shared", [True, False])
async def test_a_read_after_a_restore_shows_it_though_it_was_loaded_in_between(
    make_driver: MakeDriver, shared: bool
) -> None:
    driver, store = await begun(make_driver, shared)
    store.meanwhile["at"] = putting_off(driver)
    store.meanwhile["commit"] = lambda: driver.describe("s")

    moved: Moved = await driver.call(Restore(driver.tenant, "s", Point(step=3), Guard()))

    assert not store.meanwhile
    info = await driver.describe("s")
    assert (info.step, info.revision) == (moved.step, moved.revision) == (3, 4)
    again = await driver.stepped("s", rows_of(2, 3))
    assert np.isfinite(np.frombuffer(again.outputs, np.float32)).all()
    assert (again.step, again.revision) == (6, 5)
