"""Sessions come, are found, and go: names, tenants, pages, time to live, versions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from service.engine import upkeep
from service.engine.host import Host
from service.errors import RevisionMismatch
from service.requests import Delete, Describe, Guard, ListSessions
from service.results import SessionPage
from service.store.memory import MemoryStore
from service.store.store import Change, Damaged, Gone, Outcome, SessionKey, Stored
from tests.service.engine.conftest import MakeDriver, MakeVersions
from tests.service.engine.driver import TIMED, Driver, codes, rows_of, until


class Clock:
    """Unix seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for place in TIMED:
        monkeypatch.setattr(f"service.{place}.time", clock)
    return clock


def keyed(key: str, body: bytes = b"body") -> Guard:
    return Guard(key, body)


async def page(driver: Driver, limit: int, cursor: str | None = None, model: str | None = None):
    result: SessionPage = await driver.call(ListSessions(driver.tenant, limit, cursor, model))
    return [info.id for info in result.sessions], result.cursor


async def test_a_new_session_is_at_revision_1_and_step_0(driver: Driver, clock: Clock) -> None:
    info = await driver.create("s-1.a_b~c", ttl_s=60.0)

    assert (info.id, info.model, info.version) == ("s-1.a_b~c", "copy", "1")
    assert (info.step, info.revision, info.forked_from) == (0, 1, None)
    assert (info.created_at, info.committed_at, info.expires_at) == (1e6, 1e6, 1e6 + 60)
    assert info.state_bytes == 4 * (128 * 20 + 5 * 128 + 2 * 20 + 200)
    assert await driver.describe("s-1.a_b~c") == info


async def test_names_and_incarnations_are_drawn_and_never_the_same(driver: Driver) -> None:
    infos = [await driver.create() for _ in range(30)]

    assert len({info.id for info in infos}) == 30
    assert len({info.incarnation for info in infos}) == 30
    assert all(len(info.id) == 24 for info in infos)


@pytest.mark.parametrize("name", ["a/b", "-a", "a b", "ä", "a" * 65, ".", "a\n"])
async def test_a_name_that_no_url_takes_is_refused(driver: Driver, name: str) -> None:
    error = await driver.refused(driver.creation(name))

    assert error.code == "invalid_request" and repr(name) in error.detail


async def test_a_name_is_taken_once_a_tenant(driver: Driver) -> None:
    first = await driver.create("s")
    await driver.stepped("s", rows_of(0, 2))

    assert (await driver.refused(driver.creation("s"))).code == "session_exists"
    assert (await driver.describe("s")).incarnation == first.incarnation
    other = Driver(driver.engine, "bob")
    assert (await other.create("s")).incarnation != first.incarnation
    await other.delete("s")
    assert (await driver.describe("s")).step == 2


async def test_a_deleted_name_is_free_for_another_incarnation(driver: Driver) -> None:
    first = await driver.create("s")
    await driver.stepped("s", rows_of(0, 2))
    await driver.delete("s")

    second = await driver.create("s")

    assert second.incarnation != first.incarnation
    assert (second.step, second.revision) == (0, 1)


async def test_a_session_begins_with_the_state_it_is_given(driver: Driver) -> None:
    rows = rows_of(0, 5)
    await driver.create("first")
    await driver.stepped("first", rows)
    tensors = (await driver.memory("first")).tensors

    await driver.create("second", state={t.name: t.data for t in tensors})

    assert (await driver.memory("second")).tensors == tensors
    one, two = [(await driver.stepped(name, rows)) for name in ("first", "second")]
    assert one.outputs == two.outputs and (one.step, two.step) == (10, 5)


async def test_a_session_given_one_tensor_has_the_initial_state_else(driver: Driver) -> None:
    await driver.create("plain")
    memory = np.full((128, 20), 0.25, np.float32)

    await driver.create("given", state={"memory": memory.tobytes()})

    plain = (await driver.memory("plain")).tensors
    given = (await driver.memory("given")).tensors
    assert given[0].data == memory.tobytes() and given[0] != plain[0]
    assert given[1:] == plain[1:]


@pytest.mark.parametrize(
    ("state", "code", "said"),
    [
        ({"memroy": b""}, "invalid_request", "got 'memroy'"),
        ({"memory": b"\0" * 12}, "wrong_shape", "expected dims [128, 20]"),
        ({"reads": np.full((2, 20), np.nan, np.float32).tobytes()}, "not_finite", "state.reads"),
        ({"reads": np.full((2, 20), np.inf, np.float32).tobytes()}, "not_finite", "state.reads"),
    ],
    ids=["name", "size", "nan", "inf"],
)
async def test_a_state_that_does_not_fit_creates_nothing(
    driver: Driver, state: dict[str, bytes], code: str, said: str
) -> None:
    error = await driver.refused(driver.creation("s", state=state))

    assert error.code == code and said in error.detail
    assert (await driver.refused(Describe("alice", "s"))).code == "session_not_found"


async def test_a_repeated_creation_gets_the_first_session_as_it_was_then(driver: Driver) -> None:
    first = await driver.create(guard=keyed("k"))
    await driver.stepped(first.id, rows_of(0, 3))

    again = await driver.create(guard=keyed("k"))

    assert (again.id, again.incarnation) == (first.id, first.incarnation)
    assert (again.step, again.revision) == (0, 1)
    assert (await driver.describe(first.id)).step == 3
    other = await driver.create(guard=keyed("k2"))
    assert other.id != first.id


async def test_a_creation_key_with_another_body_is_refused(driver: Driver) -> None:
    await driver.create(guard=keyed("k"))

    assert (await driver.refused(driver.creation(guard=keyed("k", b"x")))).code == "key_reused"


async def test_more_sessions_than_the_most_allowed_are_refused(make_driver: MakeDriver) -> None:
    driver = make_driver(max_sessions=2)
    first = await driver.create(guard=keyed("k"))
    await driver.create("second")

    error = await driver.refused(driver.creation("third"))
    assert error.code == "too_many_sessions" and "2 sessions live" in error.detail
    # A repeat asks for nothing more.
    assert (await driver.create(guard=keyed("k"))).id == first.id
    await driver.delete("second")
    assert (await driver.create("third")).step == 0


async def test_pages_go_through_a_tenants_sessions_in_order_of_their_names(
    driver: Driver,
) -> None:
    for name in ("d", "b", "a", "e", "c"):
        await driver.create(name)
    bob = Driver(driver.engine, "bob")
    await bob.create("bb")

    assert await page(driver, 2) == (["a", "b"], "b")
    assert await page(driver, 2, "b") == (["c", "d"], "d")
    await driver.delete("d")  # where the cursor stands
    assert await page(driver, 2, "d") == (["e"], None)
    assert await page(driver, 4) == (["a", "b", "c", "e"], None)
    assert await page(driver, 9, "zz") == ([], None)
    assert await page(bob, 9) == (["bb"], None)
    assert await page(Driver(driver.engine, "eve"), 9) == ([], None)
    assert await page(driver, 9, model="copy") == (["a", "b", "c", "e"], None)
    assert await page(driver, 9, model="paste") == ([], None)


async def test_a_page_tells_sessions_as_describing_them_does(make_driver: MakeDriver) -> None:
    store = MemoryStore()
    first = make_driver(store=store)
    await first.create("idle")
    await first.create("stepped")
    await first.stepped("stepped", rows_of(0, 3))
    result = await first.call(ListSessions("alice", 9, None, None))
    assert result.sessions == [await first.describe(name) for name in ("idle", "stepped")]

    second = make_driver(store=store)  # which holds none of them
    result = await second.call(ListSessions("alice", 9, None, None))
    assert [(info.step, info.tier) for info in result.sessions] == [(0, "store"), (3, "store")]


async def test_a_deleted_session_is_not_found_by_anybody(driver: Driver) -> None:
    await driver.create("s")
    await driver.delete("s")

    for request in (
        Describe("alice", "s"),
        Delete("alice", "s", Guard()),
        driver.steps("s", rows_of(0, 1)),
    ):
        assert (await driver.refused(request)).code == "session_not_found"


async def test_a_delete_holds_its_if_match(driver: Driver) -> None:
    etag = f"{(await driver.create('s')).incarnation}-1"
    await driver.stepped("s", rows_of(0, 2))

    error = await driver.refused(Delete("alice", "s", Guard(if_match=etag)))

    told = {"step": 2, "revision": 2, "expected": etag, "got": f"{etag[:-1]}2"}
    assert isinstance(error, RevisionMismatch) and error.extra == told
    await driver.delete("s", if_match=f"{etag[:-1]}2")


async def test_a_delete_whose_answer_is_slow_spares_the_sessions_successor(
    make_driver: MakeDriver,
) -> None:
    class Slow(MemoryStore):
        instant = False
        gate = asyncio.Event()
        waiting = 0

        async def commit(self, changes: Sequence[Change]) -> list[Outcome]:
            outcomes = await super().commit(changes)
            if changes[0].ended is not None:
                self.waiting += 1
                await self.gate.wait()
            return outcomes

    store = Slow()
    driver = make_driver(store=store)
    first = await driver.create("s")
    deletion = driver.send(Delete("alice", "s", Guard()))
    await until(lambda: store.waiting == 1)

    second = await driver.create("s")
    running = driver.step("s", rows_of(0, 600))
    store.gate.set()
    await deletion.wait()

    assert second.incarnation != first.incarnation
    result = await running.wait()
    assert (result.step, result.incarnation) == (600, second.incarnation)


async def test_another_tenant_cannot_describe_or_delete_a_session(driver: Driver) -> None:
    await driver.create("s")

    for request in (Describe("eve", "s"), Delete("eve", "s", Guard())):
        assert (await driver.refused(request)).code == "session_not_found"
    assert (await driver.describe("s")).revision == 1


async def test_deleting_refuses_the_steps_that_wait_and_frees_their_slots(driver: Driver) -> None:
    (host,) = driver.engine.life.hosts.values()
    for name in ("s", "mate"):
        await driver.create(name)
    running = driver.step("s", rows_of(0, 4000))
    waiting = [driver.step("s", rows_of(n, 1)) for n in range(3)]
    mate = driver.step("mate", rows_of(4, 50))
    await until(lambda: running.job is not None and running.job.done > 0)

    await driver.delete("s")

    told = codes([await answer.settled() for answer in (running, *waiting)])
    assert told == ["session_not_found"] * 4
    assert (await mate.wait()).step == 50
    assert host.placement.resident == 1


async def test_an_idle_session_ends_after_its_ttl_and_says_so(driver: Driver, clock: Clock) -> None:
    await driver.create("s", ttl_s=100.0)
    clock.now += 99.0
    await driver.describe("s")
    clock.now += 1.0

    for request in (
        driver.steps("s", rows_of(0, 1)),
        Describe("alice", "s"),
        Delete("alice", "s", Guard()),
    ):
        assert (await driver.refused(request)).code == "session_expired"
    assert (await driver.refused(Describe("alice", "never"))).code == "session_not_found"


async def test_the_ttl_counts_from_the_last_commit_and_not_from_reads(
    driver: Driver, clock: Clock
) -> None:
    await driver.create("s", ttl_s=100.0)
    clock.now += 90.0
    await driver.stepped("s", rows_of(0, 1))
    clock.now += 90.0
    assert (await driver.describe("s")).expires_at == 1e6 + 190
    await driver.memory("s")
    clock.now += 10.0

    assert (await driver.refused(Describe("alice", "s"))).code == "session_expired"


async def test_a_sweep_ends_what_is_due_and_nothing_else(driver: Driver, clock: Clock) -> None:
    for name, ttl_s in (("short", 10.0), ("stepped", 10.0), ("long", 100.0)):
        await driver.create(name, ttl_s=ttl_s)
    clock.now += 9.0
    await driver.stepped("stepped", rows_of(0, 1))
    clock.now += 2.0

    await upkeep.sweep(driver.engine.life)

    assert await page(driver, 9) == (["long", "stepped"], None)
    assert (await driver.refused(Describe("alice", "short"))).code == "session_expired"
    value = driver.engine.metrics.registry.get_sample_value
    assert value("ntm_expiries_total", {"reason": "expired"}) == 1
    clock.now += 200.0
    await upkeep.sweep(driver.engine.life)
    assert await page(driver, 9) == ([], None)
    assert await driver.engine.store.count() == 0


async def test_a_sweep_runs_by_itself(driver: Driver) -> None:
    await driver.create("s", ttl_s=0.01)
    sweeper = asyncio.ensure_future(driver.engine.sweep())
    value = driver.engine.metrics.registry.get_sample_value

    await until(lambda: value("ntm_expiries_total", {"reason": "expired"}) == 1)

    sweeper.cancel()
    assert (await driver.refused(Describe("alice", "s"))).code == "session_expired"


@pytest.mark.parametrize("swept", [False, True])
async def test_an_expired_sessions_name_is_free_swept_or_not(
    driver: Driver, clock: Clock, swept: bool
) -> None:
    first = await driver.create("s", ttl_s=10.0)
    clock.now += 11.0
    if swept:
        await upkeep.sweep(driver.engine.life)

    second = await driver.create("s", ttl_s=10.0)

    assert second.incarnation != first.incarnation
    assert (await driver.stepped("s", rows_of(0, 1))).step == 1
    clock.now += 5.0
    await upkeep.sweep(driver.engine.life)  # must not take the successor for the expired one
    assert (await driver.describe("s")).incarnation == second.incarnation


async def test_a_session_with_steps_under_way_outlives_its_ttl(
    driver: Driver, clock: Clock
) -> None:
    await driver.create("s", ttl_s=10.0)
    long = driver.step("s", rows_of(0, 200))
    await until(lambda: long.job is not None and long.job.done > 0)
    clock.now += 50.0

    await upkeep.sweep(driver.engine.life)
    behind = driver.step("s", rows_of(1, 2))

    assert [(await answer.wait()).step for answer in (long, behind)] == [200, 202]
    assert (await driver.describe("s")).expires_at == clock.now + 10


async def test_a_session_opened_twice_at_once_is_one_session(make_driver: MakeDriver) -> None:
    class Slow(MemoryStore):
        gate = asyncio.Event()

        async def load(self, key: SessionKey) -> Stored | Gone | Damaged:
            stored = await super().load(key)
            await self.gate.wait()
            return stored

    store = Slow()
    await make_driver(store=store).create("s")
    driver = make_driver(store=store)

    answers = [driver.step("s", rows_of(n, 1)) for n in range(5)]
    await asyncio.sleep(0)
    store.gate.set()

    assert [(await answer.wait()).step for answer in answers] == [1, 2, 3, 4, 5]
    value = driver.engine.metrics.registry.get_sample_value
    assert not value("ntm_commit_conflicts_total")


async def test_a_session_is_of_the_newest_version_unless_one_is_named(
    make_versions: MakeVersions,
) -> None:
    driver = Driver(make_versions("9", "10", "2"))

    assert (await driver.create("new")).version == "10"
    assert (await driver.create("old", version="9")).version == "9"
    await driver.stepped("old", rows_of(0, 3))
    assert (await driver.describe("old")).version == "9"
    error = await driver.refused(driver.creation(version="11"))
    assert error.code == "model_not_found"
    assert error.detail == "expected one of copy 9, copy 10, copy 2, got 'copy 11'"
    assert error.extra == {"expected": "one of copy 9, copy 10, copy 2", "got": "copy 11"}
    await driver.at_rest()


@pytest.mark.parametrize("loaded", ["2", "1@another"], ids=["version", "fingerprint"])
async def test_a_session_whose_bundle_is_not_loaded_is_told_so_and_kept(
    make_versions: MakeVersions, loaded: str
) -> None:
    store = MemoryStore()
    first = Driver(make_versions("1", store=store))
    await first.create("s")
    await first.stepped("s", rows_of(0, 3))

    without = Driver(make_versions(loaded, store=store))
    refused = await without.refused(without.steps("s", rows_of(0, 1)))
    assert refused.code == "model_not_loaded"
    assert (await without.describe("s")).step == 3
    assert await page(without, 9) == (["s"], None)

    assert (await Driver(make_versions("1", store=store)).stepped("s", rows_of(0, 1))).step == 4


async def test_models_run_side_by_side(make_versions: MakeVersions) -> None:
    driver = Driver(make_versions("1", "2"))
    rows = rows_of(0, 30)
    for version in ("1", "2"):
        await driver.create(version, version=version)

    results = [driver.step(version, rows) for version in ("1", "2")]

    one, two = [np.frombuffer((await r.wait()).outputs, np.float32) for r in results]
    assert np.allclose(one, two, atol=1e-5)
    hosts: list[Host] = list(driver.engine.life.hosts.values())
    assert [host.placement.resident for host in hosts] == [1, 1]
    await driver.at_rest()


async def test_sessions_beyond_the_host_budget_go_to_the_store_and_come_back(
    make_driver: MakeDriver,
) -> None:
    driver, alone = make_driver(slots=3), make_driver(kind="bound", slots=8)
    for n in range(6):
        await driver.create(f"s{n}")
        await driver.stepped(f"s{n}", rows_of(n, 3))  # fewer rows than a checkpoint takes
    tiers = {name: (await driver.describe(name)).tier for name in ("s0", "s5")}
    assert tiers == {"s0": "host", "s5": "device"}

    await upkeep.spill(driver.engine.life, 0)

    listed = await driver.call(ListSessions("alice", 9, None, None))
    assert [info.tier for info in listed.sessions].count("store") >= 4
    await alone.create("s")
    await alone.stepped("s", rows_of(0, 3))
    want = np.frombuffer((await alone.stepped("s", rows_of(9, 4))).outputs, np.float32)
    got = await driver.stepped("s0", rows_of(9, 4))
    assert np.allclose(np.frombuffer(got.outputs, np.float32), want, atol=1e-5)
    assert (got.step, got.revision) == (7, 3)
