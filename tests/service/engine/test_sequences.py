"""Sequences in the engine: what begins, goes on, ends and is repeated, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Sequence as Changes
from time import time
from typing import Any

import numpy as np
import pytest

from export.bundle import Bundle
from service.engine.farewell import ENDED
from service.engine.job import Job
from service.engine.runtime import Runtime
from service.errors import (
    InvalidRequest,
    KeyReused,
    NotFinite,
    SequenceEnded,
    SequenceExpired,
    SequenceNotStarted,
    SessionNotFound,
    StoreAway,
    TooManySessions,
    WrongShape,
)
from service.requests import Fork, Guard, ListSessions, Point, Sequence, Statistics, Steps
from service.results import ModelStatistics, StepsResult
from service.store.memory import MemoryStore
from service.store.store import (
    Change,
    Gone,
    Outcome,
    SessionKey,
    SessionRow,
    StoreUnavailable,
)
from tests.service.engine.conftest import MakeDriver, MakeRuntime, make_backend
from tests.service.engine.driver import Answer, Driver, Floats, rows_of, until

SEVEN = "v2~copy~int~7"
NAN = np.full((1, 9), np.nan, np.float32)  # what no front lets through


class Shared(MemoryStore):
    """A memory store for several engines, whose commits wait to be let through, or go wrong."""

    shared = True
    instant = False

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = 0
        self.failure: Exception | None = None

    async def commit(self, changes: Changes[Change]) -> list[Outcome]:
        if self.failure is not None:
            raise self.failure
        self.waiting += 1
        await self.gate.wait()
        self.waiting -= 1
        return await super().commit(changes)


MakeReplica = Callable[[int, MemoryStore], Driver]


@pytest.fixture(scope="module")
def two_runtimes(bundle: Bundle, make_runtime: MakeRuntime) -> list[Runtime]:
    """For engines that hold the same session at once."""
    return [make_runtime(make_backend(bundle, "onnx")) for _ in range(2)]


@pytest.fixture
def make_replica(make_driver: MakeDriver, two_runtimes: list[Runtime]) -> MakeReplica:
    """The first or second of two engines on one store."""
    return lambda number, store: make_driver(store=store, runtime=two_runtimes[number])


def key(name: str, body: bytes = b"body") -> Guard:
    return Guard(name, body)


def sequence(
    driver: Driver, rows: Floats, *, start: bool = False, end: bool = False,
    guard: Guard | None = None, name: str = SEVEN, also: str | None = None,
    version: str | None = None,
) -> Sequence:  # fmt: skip
    dims = (rows.shape[0], rows.shape[1])
    steps = Steps(driver.tenant, name, rows.tobytes(), dims, False, guard or Guard(), end)
    return Sequence(steps, "copy", version, "sequence 7", also, start)


def send(driver: Driver, rows: Floats, **options: Any) -> Answer:
    return driver.send(sequence(driver, rows, **options))


async def run(driver: Driver, rows: Floats, **options: Any) -> StepsResult:
    return await send(driver, rows, **options).wait()


async def alone(make_driver: MakeDriver, rows: list[Floats]) -> list[bytes]:
    """What a session of V1 answers to the same."""
    driver = make_driver()
    await driver.create("alone")
    return [(await driver.stepped("alone", part)).outputs for part in rows]


async def first_job(driver: Driver) -> Job:
    """The job of what was sent, once it is admitted."""
    (host,) = driver.engine.life.hosts.values()
    await until(lambda: bool(host.scheduler.admitted))
    return next(host.scheduler.waiting())


async def test_a_sequence_answers_what_a_session_would(make_driver: MakeDriver) -> None:
    rows = [rows_of(seed, count) for seed, count in ((1, 2), (2, 1), (3, 4))]
    want = await alone(make_driver, rows)
    driver = make_driver()
    done = [await run(driver, part, start=at == 0, end=at == 2) for at, part in enumerate(rows)]
    assert [one.outputs for one in done] == want
    assert [(one.step, one.revision) for one in done] == [(2, 2), (3, 3), (7, 4)]
    assert {(one.session, one.version) for one in done} == {(SEVEN, "1")}


async def test_a_start_whose_client_goes_away_is_given_up_and_replaces_nothing(
    driver: Driver,
) -> None:
    before = await run(driver, rows_of(1, 2), start=True)
    running = send(driver, rows_of(2, 4000), start=True)
    job = await first_job(driver)
    await until(lambda: job.done > 0)

    driver.engine.cancel(running)

    assert (await running.settled()).code == "client_gone" and job.left
    after = await run(driver, rows_of(3, 1))
    assert (after.step, after.incarnation) == (3, before.incarnation)


async def test_a_start_that_waits_for_rows_before_it_is_given_up_when_its_client_goes_away(
    driver: Driver,
) -> None:
    await run(driver, rows_of(1, 2), start=True)
    running = send(driver, rows_of(2, 4000))
    await until(lambda: running.job is not None and running.job.done > 0)
    waiting = send(driver, rows_of(3, 1), start=True)
    await asyncio.sleep(0)

    driver.engine.cancel(waiting)

    assert (await waiting.settled()).code == "client_gone" and not running.got
    assert (await running.wait()).step == 4002


async def test_rows_sent_without_waiting_run_in_the_order_they_came(
    make_driver: MakeDriver,
) -> None:
    rows = [rows_of(seed, 2) for seed in range(6)]
    first, second = await alone(make_driver, rows[:3]), await alone(make_driver, rows[3:])
    driver = make_driver()
    answers = [send(driver, part, start=at in (0, 3), end=at == 5) for at, part in enumerate(rows)]
    assert [(await answer.wait()).outputs for answer in answers] == first + second


async def test_a_sequence_goes_on_after_its_engine_was_replaced(make_driver: MakeDriver) -> None:
    rows, store = [rows_of(seed, 2) for seed in range(3)], MemoryStore()
    want = await alone(make_driver, rows)
    got = [(await run(make_driver(store=store), rows[0], start=True)).outputs]
    got += [(await run(make_driver(store=store), part)).outputs for part in rows[1:]]
    assert got == want


async def test_a_row_without_a_start_is_refused(driver: Driver) -> None:
    for also in (None, "nobody"):
        refused = await driver.refused(sequence(driver, rows_of(1, 1), also=also))
        assert isinstance(refused, SequenceNotStarted) and "sequence 7" in refused.detail


async def test_a_row_after_the_end_is_refused(driver: Driver) -> None:
    await run(driver, rows_of(1, 1), start=True)
    await run(driver, rows_of(2, 1), end=True)
    assert isinstance(await driver.refused(sequence(driver, rows_of(3, 1))), SequenceEnded)
    page = await driver.call(ListSessions(driver.tenant, 10, None, None))
    assert page.sessions == []
    assert (await run(driver, rows_of(1, 1), start=True)).step == 1


async def test_a_row_that_waits_behind_the_last_is_refused(driver: Driver) -> None:
    await run(driver, rows_of(1, 1), start=True)
    last = send(driver, rows_of(2, 1), end=True)
    behind = send(driver, rows_of(3, 1))
    assert (await last.wait()).step == 2
    assert isinstance((await behind.settled()).got[0], SequenceEnded | SessionNotFound)


async def test_an_idle_sequence_has_expired(make_driver: MakeDriver) -> None:
    driver = make_driver(idle_ttl_s=0.01)
    await run(driver, rows_of(1, 1), start=True)
    row = await driver.engine.store.row(SessionKey(driver.tenant, SEVEN))
    assert isinstance(row, SessionRow)
    await until(lambda: row.expires_at <= time())
    assert isinstance(await driver.refused(sequence(driver, rows_of(2, 1))), SequenceExpired)
    assert (await run(driver, rows_of(1, 1), start=True)).step == 1


async def test_a_start_that_fails_leaves_the_live_sequence_as_it_was(
    make_driver: MakeDriver,
) -> None:
    rows = [rows_of(seed, 2) for seed in range(2)]
    want, driver = await alone(make_driver, rows), make_driver()
    await run(driver, rows[0], start=True)
    before = await driver.describe(SEVEN)
    assert isinstance(await driver.refused(sequence(driver, NAN, start=True)), NotFinite)
    narrow = rows_of(1, 1, 5)
    assert isinstance(await driver.refused(sequence(driver, narrow, start=True)), WrongShape)
    assert await driver.describe(SEVEN) == before
    assert (await run(driver, rows[1])).outputs == want[1]


async def test_a_first_start_that_fails_leaves_nothing(driver: Driver) -> None:
    assert isinstance(await driver.refused(sequence(driver, NAN, start=True)), NotFinite)
    assert isinstance(await driver.refused(sequence(driver, rows_of(1, 1))), SequenceNotStarted)


async def test_a_start_replaces_what_lived_under_another_incarnation(driver: Driver) -> None:
    await run(driver, rows_of(1, 3), start=True, guard=key("a"))
    before = await driver.describe(SEVEN)
    again = await run(driver, rows_of(1, 3), start=True, guard=key("b"))
    after = await driver.describe(SEVEN)
    assert (again.step, again.revision) == (3, 2)
    assert after.incarnation == again.incarnation != before.incarnation


@pytest.mark.parametrize("how", [{"start": True}, {}, {"end": True}, {"start": True, "end": True}])
async def test_a_repeat_gets_the_first_answer_and_changes_nothing(
    make_driver: MakeDriver, make_replica: MakeReplica, how: dict[str, bool]
) -> None:
    store = Shared()
    here, there = make_replica(0, store), make_replica(1, store)
    if not how.get("start"):
        await run(here, rows_of(1, 1), start=True, guard=key("first"))
        await run(there, rows_of(4, 1), guard=key("warm"))  # the other engine holds it as well
    first = await run(here, rows_of(2, 2), guard=key("k"), **how)
    for driver in (here, there, make_driver(store=store)):
        again = await run(driver, rows_of(2, 2), guard=key("k"), **how)
        assert again.replayed
        assert (again.outputs, again.step, again.revision) == (
            first.outputs, first.step, first.revision,
        )  # fmt: skip


async def test_repeats_that_come_while_the_first_runs_get_its_answer(
    make_driver: MakeDriver,
) -> None:
    store = Shared()
    driver = make_driver(store=store)
    for how in ({"start": True}, {}, {"end": True}):
        store.gate.clear()
        name = f"k{how}"
        answers = [send(driver, rows_of(5, 1), guard=key(name), **how) for _ in range(3)]
        await until(lambda: store.waiting == 1)
        store.gate.set()
        done = [await answer.wait() for answer in answers]
        assert len({(one.outputs, one.step, one.revision) for one in done}) == 1


async def test_a_key_with_other_rows_is_refused_but_for_a_start(driver: Driver) -> None:
    await run(driver, rows_of(1, 1), start=True, guard=key("k", b"one"))
    refused = await driver.refused(sequence(driver, rows_of(2, 1), guard=key("k", b"two")))
    assert isinstance(refused, KeyReused)
    again = await run(driver, rows_of(2, 1), start=True, guard=key("k", b"two"))
    assert (again.step, again.replayed) == (1, False)


async def test_two_engines_start_the_same_sequence_once_by_its_key(
    make_replica: MakeReplica,
) -> None:
    store = Shared()
    drivers = [make_replica(number, store) for number in range(2)]
    store.gate.clear()
    answers = [send(one, rows_of(1, 2), start=True, guard=key("k")) for one in drivers]
    await until(lambda: store.waiting == 2)
    store.gate.set()
    done = [await answer.wait() for answer in answers]
    assert sorted(one.replayed for one in done) == [False, True]
    assert {(one.step, one.revision) for one in done} == {(2, 2)}


async def test_a_start_wins_over_a_row_of_another_engine_that_commits_first(
    make_replica: MakeReplica,
) -> None:
    store = Shared()
    here, there = make_replica(0, store), make_replica(1, store)
    await run(here, rows_of(1, 1), start=True)
    await run(there, rows_of(2, 1))
    store.gate.clear()
    row = send(there, rows_of(3, 1))
    await until(lambda: store.waiting == 1)
    start = send(here, rows_of(4, 1), start=True)
    await until(lambda: store.waiting == 2)
    store.gate.set()
    assert (await row.wait()).step == 3
    assert (await start.wait()).step == 1
    assert (await run(there, rows_of(5, 1))).step == 2


async def test_a_start_that_the_store_did_not_take_leaves_no_slot_behind(
    make_driver: MakeDriver,
) -> None:
    store = Shared()
    driver = make_driver(store=store)
    store.failure = StoreUnavailable("gone fishing")
    assert isinstance(await driver.refused(sequence(driver, rows_of(1, 1), start=True)), StoreAway)
    store.failure = None
    assert isinstance(await driver.refused(sequence(driver, rows_of(1, 1))), SequenceNotStarted)
    assert (await run(driver, rows_of(1, 1), start=True)).step == 1


async def test_a_session_of_the_users_goes_on_where_no_sequence_was_started(
    make_driver: MakeDriver,
) -> None:
    rows = [rows_of(seed, 2) for seed in range(3)]
    want, driver = await alone(make_driver, rows), make_driver()
    name: dict[str, Any] = {"name": "v2~copy~string~mine", "also": "mine"}
    await driver.create("mine")
    got = [(await driver.stepped("mine", rows[0])).outputs]
    done = await run(driver, rows[1], **name)
    got += [done.outputs, (await driver.stepped("mine", rows[2])).outputs]
    assert (got, done.session) == (want, "mine")
    await run(driver, rows[0], end=True, **name)
    assert isinstance(await driver.refused(sequence(driver, rows[0], **name)), SequenceEnded)


async def test_a_users_session_goes_on_where_another_engine_has_moved_it(
    make_replica: MakeReplica,
    make_driver: MakeDriver,
) -> None:
    rows = [rows_of(seed, 2) for seed in range(3)]
    want, store = await alone(make_driver, rows), Shared()
    here, there = make_replica(0, store), make_replica(1, store)
    name: dict[str, Any] = {"name": "v2~copy~string~mine", "also": "mine"}
    await here.create("mine")
    await there.describe("mine")
    got = [(await run(here, rows[0], **name)).outputs]
    got += [(await run(there, rows[1], **name)).outputs, (await run(here, rows[2], **name)).outputs]
    assert got == want


async def test_a_sequence_that_was_started_goes_before_a_session_of_its_id(
    driver: Driver,
) -> None:
    name: dict[str, Any] = {"name": "v2~copy~string~mine", "also": "mine"}
    await driver.create("mine")
    await run(driver, rows_of(1, 1), start=True, **name)
    assert (await run(driver, rows_of(2, 1), **name)).step == 2
    await run(driver, rows_of(3, 1), end=True, **name)
    assert isinstance(await driver.refused(sequence(driver, rows_of(4, 1), **name)), SequenceEnded)
    assert (await driver.describe("mine")).step == 0


async def test_nobody_creates_or_forks_a_session_of_a_sequences_name(driver: Driver) -> None:
    assert isinstance(await driver.refused(driver.creation(SEVEN)), InvalidRequest)
    await driver.create("parent")
    fork = Fork(driver.tenant, "parent", Point(), SEVEN, None, Guard())
    assert isinstance(await driver.refused(fork), InvalidRequest)


async def test_another_version_than_the_sequences_own_is_refused(driver: Driver) -> None:
    await run(driver, rows_of(1, 1), start=True, version="1")
    assert (await run(driver, rows_of(2, 1), version="1")).step == 2
    refused = await driver.refused(sequence(driver, rows_of(3, 1), version="2"))
    assert isinstance(refused, InvalidRequest) and "version 1" in refused.detail


async def test_a_start_counts_among_the_sessions(make_driver: MakeDriver) -> None:
    driver = make_driver(max_sessions=1)
    await run(driver, rows_of(1, 1), start=True)
    assert (await run(driver, rows_of(1, 1), start=True)).step == 1  # in place of the first
    other = sequence(driver, rows_of(1, 1), start=True, name="v2~copy~int~8")
    assert isinstance(await driver.refused(other), TooManySessions)


async def test_tenants_do_not_share_a_sequence(make_driver: MakeDriver) -> None:
    alice = make_driver()
    bob = Driver(alice.engine, "bob")
    await run(alice, rows_of(1, 1), start=True)
    assert isinstance(await bob.refused(sequence(bob, rows_of(2, 1))), SequenceNotStarted)
    await run(bob, rows_of(1, 1), start=True)
    assert (await run(alice, rows_of(2, 1))).step == (await run(bob, rows_of(2, 1))).step == 2


async def test_an_end_without_a_key_leaves_only_that_it_ended(make_driver: MakeDriver) -> None:
    store = MemoryStore()
    driver = make_driver(store=store)
    await run(driver, rows_of(1, 1), start=True, end=True)
    assert await store.load(SessionKey(driver.tenant, SEVEN)) == Gone(ENDED)


async def test_statistics_count_what_was_run(driver: Driver) -> None:
    await run(driver, rows_of(1, 3), start=True)
    await driver.predict(rows_of(2, 2))
    await driver.refused(sequence(driver, NAN))
    (told,) = await driver.call(Statistics())
    assert isinstance(told, ModelStatistics)
    assert (told.name, told.version, told.rows, told.executions) == ("copy", "1", 6, 6)
    assert (told.success.count, told.fail.count, told.queue.count) == (2, 1, 3)
    assert {size: spent.count for size, spent in told.batches.items()} == {1: 6}
    assert 0 < told.infer.ns == sum(spent.ns for spent in told.batches.values())
