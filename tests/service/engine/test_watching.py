"""Watch: what was done to a session after a revision, from the store, as soon as there is any."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from service.engine import watching
from service.errors import Draining, SessionExpired, SessionNotFound, StoreRolledBack
from service.requests import Fork, Guard, Point, Reset, Restore, Snapshot, Watch
from service.results import Watched
from service.store.memory import MemoryStore
from service.store.store import Change, Outcome, Retention
from tests.service.engine.conftest import MakeDriver
from tests.service.engine.driver import Driver, codes, rows_of, until

FOREVER_S = 600.0
WEIGHTS = ("read_weights", "write_weights")


def watch(
    driver: Driver, session: str, after: tuple[str, int] | None, wait_s: float = FOREVER_S,
    seen: int | None = 0, rows: bool = False, roles: tuple[str, ...] = (),
) -> Watch:  # fmt: skip
    return Watch(driver.tenant, session, after, seen, wait_s, rows, roles)


def kinds(found: Watched) -> list[tuple[str, int]]:
    return [(told.record.kind, told.record.revision) for told in found.records]


async def test_without_a_revision_it_says_at_once_where_the_session_stands(driver: Driver):
    info = await driver.create("s")
    await driver.stepped("s", rows_of(1, 3))
    found = await driver.call(watch(driver, "s", None))
    assert (found.incarnation, found.revision) == (info.incarnation, 2)
    assert (found.records, found.notices, found.ended) == ([], [], None)


async def test_it_waits_for_a_step_and_tells_it(driver: Driver):
    info = await driver.create("s")
    waiting = driver.send(watch(driver, "s", (info.incarnation, 1)))
    rows = rows_of(1, 3)
    assert not waiting.got
    await driver.stepped("s", rows)
    found = await waiting.wait()
    assert (kinds(found), found.revision) == ([("step", 2)], 2)
    record = found.records[0].record
    assert (record.step, record.count, record.rows, record.outputs) == (3, 3, b"", b"")


async def test_after_its_time_it_tells_nothing(driver: Driver):
    info = await driver.create("s")
    found = await driver.call(watch(driver, "s", (info.incarnation, 1), 0.0))
    assert (kinds(found), found.revision, found.ended) == ([], 1, None)


async def test_what_was_done_meanwhile_is_told_in_order_and_with_rows_where_asked(driver: Driver):
    info = await driver.create("s")
    rows = [rows_of(seed, seed) for seed in (2, 3)]
    results = [await driver.stepped("s", part) for part in rows]
    await driver.call(Restore(driver.tenant, "s", Point(step=2), Guard()))
    await driver.call(Reset(driver.tenant, "s", Guard()))
    found = await driver.call(watch(driver, "s", (info.incarnation, 1), rows=True))
    assert kinds(found) == [("step", 2), ("step", 3), ("restore", 4), ("reset", 5)]
    for told, part, result in zip(found.records, rows, results, strict=False):
        assert (told.record.rows, told.record.outputs) == (part.tobytes(), result.outputs)
    assert [told.record.rows for told in found.records[2:]] == [b"", b""]
    later = await driver.call(watch(driver, "s", (info.incarnation, 3)))
    assert kinds(later) == [("restore", 4), ("reset", 5)]


async def test_a_long_absence_is_told_in_parts(driver: Driver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watching, "RECORDS", 4)
    info = await driver.create("s")
    for seed in range(7):
        await driver.stepped("s", rows_of(seed, 1))
    after, told = 1, []
    while after < 8:
        found = await driver.call(watch(driver, "s", (info.incarnation, after)))
        told += [revision for _, revision in kinds(found)]
        after = told[-1]
    assert told == list(range(2, 9))


async def test_what_is_not_kept_any_more_is_passed_over_to_what_is(make_driver: MakeDriver):
    kept = Retention(replies=1, history_rows=300)
    driver = make_driver(store=MemoryStore(kept), history_rows=300)
    info = await driver.create("s")
    for seed in range(160):
        await driver.stepped("s", rows_of(seed, 4))
    found = await driver.call(watch(driver, "s", (info.incarnation, 1)))
    first = kinds(found)[0][1]
    assert first > 2
    assert [revision for _, revision in kinds(found)] == list(range(first, 162))


@pytest.mark.parametrize("at", [2, 3, 4])
async def test_weights_and_usage_are_those_after_the_step_also_of_an_earlier_one(
    driver: Driver, at: int
):
    info = await driver.create("s")
    wanted = {}
    for seed in (2, 3, 4):
        result = await driver.stepped("s", rows_of(seed, seed), trace=True)
        assert result.trace is not None
        wanted[result.revision] = {
            t.name: (t.role, t.data[-len(t.data) // seed :]) for t in result.trace
        }
    found = await driver.call(watch(driver, "s", (info.incarnation, at - 1), roles=WEIGHTS))
    tensors = found.records[0].tensors
    assert tensors is not None
    assert {tensor.role for tensor in tensors} == set(WEIGHTS)
    for tensor in tensors:
        role, data = wanted[at][tensor.name]
        assert tensor.role == role
        assert np.array_equal(np.frombuffer(tensor.data), np.frombuffer(data))


async def test_notices_are_told_once_and_those_from_before_not(driver: Driver):
    info = await driver.create("s")
    begun = await driver.call(watch(driver, "s", None, seen=None))
    waiting = driver.send(watch(driver, "s", (info.incarnation, 1), seen=begun.seen))
    await driver.call(Snapshot(driver.tenant, "s", "first", Guard()))
    found = await waiting.wait()
    assert [(n.kind, n.revision, n.facts) for n in found.notices] == [
        ("snapshotted", 1, {"name": "first"})
    ]
    await driver.call(Fork(driver.tenant, "s", Point(), "child", None, Guard()))
    more = await driver.call(watch(driver, "s", (info.incarnation, 1), seen=found.seen))
    assert [(n.kind, n.facts) for n in more.notices] == [("forked", {"id": "child"})]
    fresh = await driver.call(watch(driver, "s", (info.incarnation, 1), 0.0, seen=None))
    assert not fresh.notices


async def test_an_eviction_is_told(make_driver: MakeDriver):
    driver = make_driver(slots=4)
    info = await driver.create("s")
    await driver.stepped("s", rows_of(1, 1))
    waiting = driver.send(watch(driver, "s", (info.incarnation, 2), seen=0))
    for name in ("a", "b", "c"):
        await driver.create(name)
        await driver.stepped(name, rows_of(1, 1))
    (notice,) = (await waiting.wait()).notices
    assert (notice.kind, notice.facts) == ("evicted", {"reason": "device_full"})


@pytest.mark.parametrize("how", ["deleted", "expired", "replaced"])
async def test_the_end_is_told_and_how(driver: Driver, how: str):
    info = await driver.create("s")
    question = watch(driver, "s", (info.incarnation, 1))
    waiting = driver.send(question)
    session = driver.engine.life.held(driver.tenant, "s")
    assert session is not None
    await driver.engine.life.end(session.row, "deleted" if how == "replaced" else how)
    found = await waiting.wait()
    if how == "replaced":
        await driver.create("s")
        found = await driver.call(question)
    assert found.ended == how and not found.records
    if how != "replaced":
        refused = await driver.refused(watch(driver, "s", None))
        assert type(refused) is (SessionExpired if how == "expired" else SessionNotFound)


async def test_a_revision_that_the_store_has_not_is_reported(driver: Driver):
    info = await driver.create("s")
    refused = await driver.refused(watch(driver, "s", (info.incarnation, 2)))
    assert isinstance(refused, StoreRolledBack)


class HeldStore(MemoryStore):
    """A store whose commits wait until they are let through."""

    instant = False

    def __init__(self) -> None:
        super().__init__()
        self.through = asyncio.Event()
        self.through.set()
        self.asked = 0

    async def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        self.asked += 1
        await self.through.wait()
        return await super().commit(changes)


async def test_nothing_is_told_of_a_step_that_is_not_committed(make_driver: MakeDriver):
    store = HeldStore()
    driver = make_driver(store=store)
    info = await driver.create("s")
    store.through.clear()
    step = driver.step("s", rows_of(1, 2))
    await until(lambda: store.asked == 2)
    early = await driver.call(watch(driver, "s", (info.incarnation, 1), 0.0, roles=WEIGHTS))
    waiting = driver.send(watch(driver, "s", (info.incarnation, 1)))
    await driver.describe("s")
    assert (early.records, early.revision, waiting.got) == ([], 1, [])
    store.through.set()
    await step.wait()
    assert kinds(await waiting.wait()) == [("step", 2)]


async def test_one_whose_client_has_gone_waits_no_longer_and_a_stop_ends_the_rest(
    make_driver: MakeDriver,
):
    driver = make_driver()
    info = await driver.create("s")
    gone, stays = (driver.send(watch(driver, "s", (info.incarnation, 1))) for _ in range(2))
    await driver.describe("s")
    driver.engine.cancel(gone)
    assert (await gone.settled()).code == Draining.code
    assert not stays.got
    await asyncio.wait_for(driver.engine.drain(), 20)
    assert codes([await stays.settled()]) == [Draining.code]
