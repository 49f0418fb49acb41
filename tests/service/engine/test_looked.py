"""A look runs only the rows that were not told just before, and tells what it would have anyway."""

import numpy as np
import pytest

from service.engine import looked
from service.engine.host import Host
from service.engine.looked import MOST_ROWS, MOST_RUNS, Looked
from service.engine.traced import TracedStep
from service.requests import Guard, Point, Restore, Trace
from service.results import StateTensor, TraceResult
from tests.service.engine.conftest import MakeDriver
from tests.service.engine.driver import Driver, rows_of

CLOSE = 1e-4  # each row within 1e-5 of what runs the steps


@pytest.fixture
def driver(make_driver: MakeDriver) -> Driver:
    return make_driver()


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each run of the traced step had."""
    counted: list[int] = []
    whole = TracedStep.run

    def run(self, state, rows, kept, told):  # type: ignore[no-untyped-def]
        counted.append(len(rows))
        return whole(self, state, rows, kept, told)

    monkeypatch.setattr(TracedStep, "run", run)
    return counted


def host_of(driver: Driver) -> Host:
    (host,) = driver.engine.life.hosts.values()
    return host


async def told(driver: Driver, rows: int, session: str = "a", *roles: str) -> TraceResult:
    return await driver.call(Trace(driver.tenant, session, None, None, rows, roles))


async def afresh(driver: Driver, rows: int, *roles: str) -> TraceResult:
    """The same by an engine that remembers no look."""
    host_of(driver).looked = Looked()
    return await told(driver, rows, "a", *roles)


def array(tensor: StateTensor) -> np.ndarray:
    return np.frombuffer(tensor.data, np.float32).reshape(tensor.dims)


def assert_same(one: TraceResult, other: TraceResult) -> None:
    assert (one.step, one.revisions, one.inputs) == (other.step, other.revisions, other.inputs)
    pairs = zip(
        [one.outputs, *one.state, *one.trace], [other.outputs, *other.state, *other.trace],
        strict=True,
    )  # fmt: skip
    for got, want in pairs:
        assert (got.name, got.role, got.dims) == (want.name, want.role, want.dims)
        assert array(got) == pytest.approx(array(want), abs=CLOSE)


async def test_only_the_rows_since_the_last_look_are_run(driver: Driver, ran: list[int]):
    await driver.create("a")
    await driver.stepped("a", rows_of(0, 20))
    await told(driver, 15)
    await driver.stepped("a", rows_of(1, 3))
    found = await told(driver, 12)
    assert ran == [15, 3]
    assert_same(found, await afresh(driver, 12))


async def test_what_lies_within_the_last_look_is_told_without_running_anything(
    driver: Driver, ran: list[int]
):
    await driver.create("a")
    await driver.stepped("a", rows_of(0, 20))
    await told(driver, 15)
    found = await told(driver, 4, "a", "memory", "key")
    assert ran == [15]
    assert {tensor.role for tensor in (*found.state, *found.trace)} == {"memory", "key"}
    assert_same(found, await afresh(driver, 4, "memory", "key"))


async def test_rows_before_the_last_look_are_run_from_the_state_before_them(
    driver: Driver, ran: list[int]
):
    await driver.create("a")
    await driver.stepped("a", rows_of(0, 20))
    await told(driver, 5)
    assert_same(await told(driver, 9), await afresh(driver, 9))
    assert ran == [5, 9, 9]


async def test_what_a_session_did_before_it_went_back_is_not_told_of_what_it_did_then(
    driver: Driver, ran: list[int]
):
    await driver.create("a")
    await driver.stepped("a", rows_of(0, 10))
    await told(driver, 10)
    await driver.call(Restore(driver.tenant, "a", Point(step=6), Guard()))
    await driver.stepped("a", rows_of(5, 4))
    found = await told(driver, 10)
    assert (found.step, len(found.revisions)) == (7, 4)
    assert_same(found, await afresh(driver, 10))
    assert ran == [10, 4, 4]


async def test_rows_that_a_store_lost_are_not_told_for_others_of_their_number(driver: Driver):
    await driver.create("a")
    await driver.stepped("a", rows_of(0, 10))
    rows = looked.Rows(1, [2] * 10, rows_of(0, 10))
    await told(driver, 10)
    ((key, run),) = host_of(driver).looked._runs.items()
    assert host_of(driver).looked.find(key, rows) is run
    assert host_of(driver).looked.find(key, rows._replace(inputs=rows_of(1, 10))) is None
    assert host_of(driver).looked.find(key, rows._replace(revisions=[3] * 10)) is None


async def test_after_so_many_rows_a_look_begins_anew_with_the_sessions_own_state(
    driver: Driver, ran: list[int]
):
    await driver.create("a")
    await driver.stepped("a", rows_of(0, 8))
    await told(driver, 8)
    ((key, run),) = host_of(driver).looked._runs.items()
    host_of(driver).looked.keep(key, run._replace(since=MOST_ROWS - 1))
    await driver.stepped("a", rows_of(1, 1))
    await told(driver, 4)
    await driver.stepped("a", rows_of(2, 1))
    assert_same(await told(driver, 4), await afresh(driver, 4))
    assert ran == [8, 1, 4, 4], "one row on was the last that may be"


async def test_of_a_run_that_is_gone_on_with_the_latest_rows_are_kept(
    driver: Driver, ran: list[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(looked, "KEPT_ROWS", 6)
    await driver.create("a")
    for at in range(4):
        await driver.stepped("a", rows_of(at, 4))
        found = await told(driver, 5)
    assert ran == [4, 4, 4, 4]
    (run,) = host_of(driver).looked._runs.values()
    assert (run.rows.step, len(run.rows.revisions)) == (11, 6)
    assert_same(found, await afresh(driver, 5))


async def test_states_that_are_too_large_are_run_again_each_time(
    driver: Driver, ran: list[int], monkeypatch: pytest.MonkeyPatch
):
    await driver.create("a")
    await driver.stepped("a", rows_of(0, 8))
    monkeypatch.setattr(looked, "MOST_BYTES", 7 * host_of(driver).traced_bytes)
    one, other = await told(driver, 8), await told(driver, 8)
    assert ran == [8, 8]
    assert_same(one, other)


async def test_a_few_sessions_are_remembered(driver: Driver, ran: list[int]):
    for at in range(MOST_RUNS + 1):
        await driver.create(f"a{at}")
        await driver.stepped(f"a{at}", rows_of(at, 3))
        await told(driver, 3, f"a{at}")
    await told(driver, 3, "a1")
    assert len(ran) == MOST_RUNS + 1
    await told(driver, 3, "a0")
    assert len(ran) == MOST_RUNS + 2
