"""States move between the device and beside it together, and each stays its session's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from export.bundle import Bundle
from service.engine.host import Host
from service.engine.runtime import Runtime
from service.engine.sessions import Session
from tests.service.engine.driver import assert_no_slot_leaked, rows_of
from tests.service.engine.test_host import admit, commit, host_of, packed, session_on

SLOTS = 17  # two of them are freed at a time


def stepped(host: Host, count: int) -> list[Session]:
    """So many sessions, each with a state of its own."""
    sessions = [session_on(host, f"s{number}") for number in range(count)]
    for number, session in enumerate(sessions):
        step(host, session, number)
    return sessions


def step(host: Host, session: Session, seed: int) -> None:
    job, _ = admit(host, session, rows_of(seed, 2))
    host.tick()
    commit(job)


def counted(monkeypatch: pytest.MonkeyPatch, runtime: Runtime, name: str) -> list[int]:
    """How many slots each call of a method moves, from now on."""
    seen: list[int] = []
    method = getattr(runtime, name)

    def call(slots: list[int], *rest: Any) -> Any:
        seen.append(len(slots))
        return method(slots, *rest)

    monkeypatch.setattr(runtime, name, call)
    return seen


def test_the_sessions_of_a_batch_come_to_the_device_in_one_piece(
    bundle: Bundle, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = host_of(bundle, runtime, slots=SLOTS)
    sessions = stepped(host, 5)
    states = [packed(host, session) for session in sessions]
    for session, state in zip(sessions, states, strict=True):
        host.placement.put(session, state)
    alone = [session_on(host, f"alone{number}") for number in range(5)]
    want: list[bytes] = []
    for session, state in zip(alone, states, strict=True):
        host.placement.put(session, state)
        step(host, session, 9)
        want.append(packed(host, session))
        host.placement.forget(session)

    written = counted(monkeypatch, host.runtime, "write")
    jobs = [admit(host, session, rows_of(9, 2))[0] for session in sessions]
    assert host.tick() == (True, jobs)

    assert written == [5]
    for job in jobs:
        commit(job)
    assert [packed(host, session) for session in sessions] == want
    assert_no_slot_leaked(host)


def test_where_slots_are_many_several_are_freed_at_a_time_the_oldest_first(
    bundle: Bundle, runtimes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = host_of(bundle, runtimes("onnx"), slots=SLOTS)
    sessions = stepped(host, 15)  # every slot but the one to write to
    states = [packed(host, session) for session in sessions]
    last = [session_on(host, f"last{number}") for number in range(2)]
    read = counted(monkeypatch, host.runtime, "read")

    for session in last:
        step(host, session, 0)

    assert read == [2]
    assert [session.slot is None for session in sessions] == [True] * 2 + [False] * 13
    assert [session.saved for session in sessions[:2]] == states[:2]
    assert all(session.slot for session in last)
    evicted = host.metrics.registry.get_sample_value(
        "ntm_evictions_total", {"model": "copy", "reason": "device_full"}
    )
    assert evicted == 2
    assert_no_slot_leaked(host)


def test_what_cannot_be_read_from_the_device_stays_there(
    bundle: Bundle, runtimes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = host_of(bundle, runtimes("onnx"), slots=SLOTS)
    sessions = stepped(host, 16)
    before = [packed(host, session) for session in sessions]
    _, told = admit(host, session_on(host, "new"), rows_of(0, 1))

    def fail(*_: Any) -> Any:
        raise RuntimeError("the device has gone")

    with monkeypatch.context() as broken:
        broken.setattr(host.runtime, "read", fail)
        assert host.tick() == (False, [])

    assert len(told.got) == 1
    assert [packed(host, session) for session in sessions] == before
    assert all(session.slot for session in sessions)
    assert_no_slot_leaked(host)


def test_the_whole_initial_state_is_nobodys_bytes(host: Host) -> None:
    session = session_on(host)
    assert host.placement.packed(session) is None
    host.placement.put(session, packed(host, session))
    assert np.frombuffer(host.placement.packed(session) or b"", np.uint8).size == host.state_bytes


@pytest.fixture
def host(bundle: Bundle, runtimes: Any) -> Host:
    return host_of(bundle, runtimes("onnx"))


def test_a_fork_shares_its_parents_slot_until_either_steps(
    bundle: Bundle, runtime: Runtime
) -> None:
    host = host_of(bundle, runtime, slots=SLOTS)
    (parent,), fork, other = stepped(host, 1), session_on(host, "fork"), session_on(host, "other")
    state, free = packed(host, parent), host.placement.arena.free
    for child in (fork, other):
        host.placement.share(parent, child)
    assert host.placement.arena.free == free and parent.slot == fork.slot == other.slot

    step(host, fork, 5)
    assert packed(host, parent) == packed(host, other) == state != packed(host, fork)
    step(host, parent, 5)
    assert packed(host, parent) == packed(host, fork) and packed(host, other) == state
    assert_no_slot_leaked(host)


def test_a_shared_slot_is_made_room_of_by_putting_all_who_share_it_off(
    bundle: Bundle, runtime: Runtime
) -> None:
    host = host_of(bundle, runtime, slots=SLOTS)
    parents = stepped(host, SLOTS - 2)  # a slot more, to work in
    forks = [session_on(host, f"f{number}") for number in range(len(parents))]
    states = [packed(host, parent) for parent in parents]
    for parent, fork in zip(parents, forks, strict=True):
        host.placement.share(parent, fork)
    assert host.placement.resident == 2 * host.placement.occupied == 2 * len(parents)

    stepped(host, 3)
    assert [packed(host, session) for session in (*parents, *forks)] == states * 2
    assert host.placement.resident < 2 * len(parents)
    assert_no_slot_leaked(host)
