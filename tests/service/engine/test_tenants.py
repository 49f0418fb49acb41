"""Tenants in one engine: each meets only what is its own, and its own limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.engine import rewind
from service.engine.sessions import RESERVED
from service.errors import NtmError
from service.requests import (
    Delete,
    Describe,
    Fork,
    Guard,
    History,
    Import,
    ListSessions,
    ListSnapshots,
    Memory,
    Migrate,
    Point,
    Request,
    Reset,
    Restore,
    Sequence,
    Snapshot,
    Steps,
    Usage,
    Watch,
)
from service.settings import Settings
from service.store.memory import MemoryStore
from service.store.open import open_store
from service.store.store import Store
from tests.service.engine.conftest import MakeDriver
from tests.service.engine.driver import Driver, rows_of

ROWS = rows_of(0, 2)
NO = Guard()
STEPS = Steps("bob", "s", ROWS.tobytes(), (2, 9), False, NO)
OF_A_SESSION: dict[str, Callable[[str], Request]] = {
    "describe": lambda name: Describe("bob", name),
    "steps": lambda name: Steps("bob", name, ROWS.tobytes(), (2, 9), False, NO),
    "keyed steps": lambda name: Steps("bob", name, ROWS.tobytes(), (2, 9), False, Guard("k", b"f")),
    "memory": lambda name: Memory("bob", name),
    "delete": lambda name: Delete("bob", name, NO),
    "conditional delete": lambda name: Delete("bob", name, Guard(if_match="x-1")),
    "reset": lambda name: Reset("bob", name, NO),
    "restore": lambda name: Restore("bob", name, Point(step=0), NO),
    "fork": lambda name: Fork("bob", name, Point(), None, None, NO),
    "snapshot": lambda name: Snapshot("bob", name, None, NO),
    "snapshots": lambda name: ListSnapshots("bob", name),
    "history": lambda name: History("bob", name, None, 10),
    "import": lambda name: Import("bob", name, "spec", None, {}, NO),
    "migrate": lambda name: Migrate("bob", name, "1", NO),
    "watch": lambda name: Watch("bob", name, None, None, 0.0),
    "sequence": lambda name: Sequence(
        Steps("bob", name, ROWS.tobytes(), (2, 9), False, NO), "copy", None, "7", None, False
    ),
}


class Watched:
    """A store that keeps the names of the calls made of it, and what they were given."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.calls: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def called(*given: Any, **named: Any) -> Any:
            self.calls.append((name, repr((given, named))))
            return found(*given, **named)

        return called


def told(error: NtmError, name: str) -> tuple[str, str, str]:
    return error.code, error.detail.replace(name, "NAME"), repr(error.extra).replace(name, "NAME")


@pytest.mark.parametrize("kind", OF_A_SESSION)
async def test_anothers_session_is_met_as_one_that_nobody_has_to_the_last_call_of_the_store(
    make_driver: MakeDriver, kind: str
) -> None:
    store = Watched(MemoryStore())
    alice = make_driver(store=store)
    name = f"{RESERVED}copy~int~7" if kind == "sequence" else "alices"
    if kind == "sequence":
        await alice.call(
            Sequence(
                Steps("alice", name, ROWS.tobytes(), (2, 9), False, NO),
                "copy",
                None,
                "7",
                None,
                True,
            )
        )
    else:
        await alice.create(name)
        await alice.stepped(name, ROWS, guard=Guard("k", b"f"))
    unknown = "v2~copy~int~8" if kind == "sequence" else "nobody"
    bob, met = Driver(alice.engine, "bob"), []
    for asked in (unknown, name):
        store.calls.clear()
        error = await bob.refused(OF_A_SESSION[kind](asked))
        met.append((told(error, asked), [(n, g.replace(asked, "NAME")) for n, g in store.calls]))
    assert met[0] == met[1]
    assert met[0][0][0] in ("session_not_found", "sequence_not_started")
    assert met[0][1], "the store was asked"


async def test_two_tenants_have_each_a_session_of_one_name(make_driver: MakeDriver) -> None:
    alice = make_driver()
    bob = Driver(alice.engine, "bob")
    await alice.create("s")
    await alice.stepped("s", ROWS, guard=Guard("k", b"f"))
    begun = await bob.create("s")
    assert (begun.step, (await alice.describe("s")).step) == (0, 2)

    other = await bob.stepped("s", rows_of(5, 3), guard=Guard("k", b"g"))  # a key of its own
    assert (other.step, other.replayed) == (3, False)
    await bob.delete("s")
    assert (await alice.describe("s")).step == 2


async def test_lists_and_counts_are_a_tenants_own(make_driver: MakeDriver) -> None:
    alice = make_driver()
    bob = Driver(alice.engine, "bob")
    for name in ("a1", "a2", "a3"):
        await alice.create(name)
    await bob.create("b1")
    size = (await bob.describe("b1")).state_bytes

    page = await bob.call(ListSessions("bob", 10, None, None))
    assert [info.id for info in page.sessions] == ["b1"]
    used = [await alice.call(Usage(tenant)) for tenant in ("alice", "bob", "eve")]
    assert [(u.sessions, u.state_bytes) for u in used] == [(3, 3 * size), (1, size), (0, 0)]


@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_a_tenants_sessions_are_limited_also_where_many_begin_at_once(
    make_driver: MakeDriver, store: str, tmp_path: Path
) -> None:
    url = "memory" if store == "memory" else f"sqlite://{tmp_path}/s.db"
    opened = await open_store(Settings(store=url))
    alice = make_driver(store=opened, keys="keys.json", tenant_sessions=4)
    bob = Driver(alice.engine, "bob")
    answers = [await a.settled() for a in [alice.send(alice.creation()) for _ in range(12)]]
    begun = [answer.code for answer in answers].count(None)
    assert 1 <= begun <= 4  # one that is being written may count twice for a moment
    assert {answer.code for answer in answers} == {None, "too_many_sessions"}
    for _ in range(4 - begun):
        await alice.create()
    assert (await alice.refused(alice.creation())).code == "too_many_sessions"

    await bob.create("b")  # another has room all the same
    first = next(answer.got[0].id for answer in answers if answer.code is None)
    await alice.delete(first)
    await alice.create()
    refused = await alice.refused(Fork("alice", await _any(alice), Point(), None, None, NO))
    assert (refused.code, refused.status) == ("too_many_sessions", 429)
    await opened.close()


async def test_a_repeat_of_a_creation_is_answered_also_where_there_is_no_room_left(
    make_driver: MakeDriver,
) -> None:
    alice = make_driver(keys="keys.json", tenant_sessions=1)
    first = await alice.create(guard=Guard("k", b"f"))
    again = await alice.create(guard=Guard("k", b"f"))
    assert (again.id, again.replayed) == (first.id, True)
    assert (await alice.refused(alice.creation())).code == "too_many_sessions"


async def test_a_tenants_state_is_limited_in_bytes(make_driver: MakeDriver) -> None:
    alice = make_driver()
    size = (await alice.create("s")).state_bytes
    alice = make_driver(keys="keys.json", tenant_state_bytes=3 * size - 1)
    await alice.create("a")
    await alice.create("b")
    refused = await alice.refused(alice.creation("c"))
    assert (refused.code, refused.status) == ("too_many_state_bytes", 429)
    assert f"{2 * size} and {size} more" in refused.detail
    sequence = Sequence(
        Steps("alice", "v2~copy~int~7", ROWS.tobytes(), (2, 9), False, NO),
        "copy", None, "7", None, True,
    )  # fmt: skip
    assert (await alice.refused(sequence)).code == "too_many_state_bytes"
    await alice.delete("a")
    assert (await alice.call(sequence)).step == 2


async def test_without_keys_only_the_servers_own_limits_hold(make_driver: MakeDriver) -> None:
    alice = make_driver(tenant_sessions=1, tenant_state_bytes=1, max_sessions=2)
    await alice.create("a")
    await alice.create("b")
    assert (await alice.refused(alice.creation("c"))).code == "too_many_sessions"


async def test_one_who_floods_takes_his_share_of_the_queue_and_nobody_elses_turn(
    make_driver: MakeDriver,
) -> None:
    alice = make_driver(
        slots=40, max_batch=4, max_queue=64, keys="keys.json", tenant_queue_share=0.5
    )
    bob = Driver(alice.engine, "bob")
    await bob.create("b")
    await asyncio.gather(*(alice.create(f"a{at}") for at in range(20)))
    flood = [alice.step(f"a{at % 20}", rows_of(at, 200)) for at in range(200)]
    mine = bob.step("b", ROWS)
    await mine.wait()
    waiting = sum(not answer.got for answer in flood)
    assert waiting >= 30, "bob was answered while alice's flood was still being worked off"

    await asyncio.gather(*(answer.settled() for answer in flood))
    codes = [answer.code for answer in flood]
    assert codes.count(None) == 32 and codes.count("queue_full") == 168
    assert "32 requests of the tenant wait" in next(a for a in flood if a.code).got[0].detail


async def test_one_who_goes_far_back_again_and_again_holds_up_nobody_else(
    make_driver: MakeDriver,
) -> None:
    alice = make_driver(keys="keys.json", tenant_sessions=50)
    bob = Driver(alice.engine, "bob")
    await bob.create("b")
    await alice.create("a")
    await alice.stepped("a", rows_of(0, 500))
    forks = [alice.send(Fork("alice", "a", Point(step=499), None, None, NO)) for _ in range(8)]
    for at in range(10):
        await bob.stepped("b", rows_of(at, 1))
    assert sum(not fork.got for fork in forks) >= 7, "bob was answered while alice's were run"

    ended = [await fork.settled() for fork in forks]
    assert {fork.code for fork in ended} == {None}
    assert {fork.got[0].step for fork in ended} == {499}


async def test_where_there_is_no_room_nothing_is_run_again(
    make_driver: MakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = make_driver(keys="keys.json", tenant_sessions=1)
    await alice.create("a")
    await alice.stepped("a", rows_of(0, 20))
    monkeypatch.setattr(rewind, "rerun_in_turns", None)
    refused = await alice.refused(Fork("alice", "a", Point(step=19), None, None, NO))
    assert refused.code == "too_many_sessions"


async def _any(driver: Driver) -> str:
    page = await driver.call(ListSessions(driver.tenant, 1, None, None))
    return page.sessions[0].id
