"""Steps through a whole engine: what each session answers, and what a failure leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from service.engine.process import FrontConnection
from service.errors import Internal, KeyReused, ModelNotFound, RevisionMismatch, WrongShape
from service.frames import frame_of
from service.messages import Call
from service.requests import Guard, Health, ListModels, ListSessions, Predict, Steps
from service.store.memory import MemoryStore
from service.store.store import (
    Change,
    Damaged,
    Gone,
    Outcome,
    SessionKey,
    Stored,
    StoreUnavailable,
)
from tests.service.engine.conftest import KINDS, MakeDriver
from tests.service.engine.driver import Driver, Floats, codes, rows_of, until


class Held(MemoryStore):
    """A memory store whose commits of steps wait to be let through, or go wrong."""

    instant = False

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = 0
        self.failure: Exception | None = None
        self.before: Callable[[], None] | None = None

    async def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        if not any(change.record and change.record.kind == "step" for change in changes):
            return await super().commit(changes)
        if self.failure is not None:
            raise self.failure
        self.waiting += 1
        await self.gate.wait()
        self.waiting -= 1
        if self.before is not None:
            self.before()
        return await super().commit(changes)


def key(name: str, body: bytes = b"body", if_match: str | None = None) -> Guard:
    return Guard(name, body, if_match)


async def history_alone(make_driver: MakeDriver, kind: str, rows: list[Floats]) -> list[bytes]:
    """What a session of its own answers, one request after the other."""
    driver = make_driver(kind=kind)
    await driver.create("alone")
    outputs = [(await driver.stepped("alone", part)).outputs for part in rows]
    return [*outputs, *(tensor.data for tensor in (await driver.memory("alone")).tensors)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("slots", [3, 24])
async def test_nine_interleaved_sessions_answer_what_each_would_alone(
    make_driver: MakeDriver, kind: str, slots: int
) -> None:
    counts = np.random.default_rng(0).integers(1, 30, (9, 4))
    rows = [[rows_of(10 * n + t, int(counts[n, t])) for t in range(4)] for n in range(9)]
    want = [await history_alone(make_driver, kind, mine) for mine in rows]
    assert len({tuple(outputs) for outputs in want}) == 9

    driver = make_driver(kind=kind, slots=slots if slots == 3 else 16)
    for n in range(9):
        await driver.create(f"s{n}")
    answers = [[driver.step(f"s{n}", part) for part in rows[n]] for n in range(9)]

    for n in range(9):
        got = [(await answer.wait()).outputs for answer in answers[n]]
        state = [tensor.data for tensor in (await driver.memory(f"s{n}")).tensors]
        assert got + state == want[n], n
    if slots == 3:
        assert b'ntm_evictions_total{model="copy",reason="device_full"}' in (
            driver.engine.metrics.text()
        )


async def test_a_sessions_answers_count_its_rows_and_its_revisions(driver: Driver) -> None:
    info = await driver.create("s")
    answers = [driver.step("s", rows_of(n, n + 1)) for n in range(4)]

    results = [await answer.wait() for answer in answers]

    assert [(r.step, r.revision, r.dims) for r in results] == [
        (1, 2, (1, 8)), (3, 3, (2, 8)), (6, 4, (3, 8)), (10, 5, (4, 8)),
    ]  # fmt: skip
    assert {r.incarnation for r in results} == {info.incarnation}
    after = await driver.describe("s")
    assert (after.step, after.revision, after.incarnation) == (10, 5, info.incarnation)
    assert after.committed_at >= info.committed_at


async def test_one_request_of_many_rows_equals_many_of_one(driver: Driver) -> None:
    rows = rows_of(0, 40)
    await driver.create("whole")
    await driver.create("parts")

    whole = await driver.stepped("whole", rows)
    parts = [await driver.stepped("parts", rows[at : at + 1]) for at in range(40)]

    assert whole.outputs == b"".join(part.outputs for part in parts)
    states = [(await driver.memory(name)).tensors for name in ("whole", "parts")]
    assert states[0] == states[1]


async def test_a_prediction_starts_from_fresh_state_and_leaves_none(driver: Driver) -> None:
    rows = rows_of(0, 20)
    await driver.create("s")
    want = (await driver.stepped("s", rows)).outputs

    assert (await driver.predict(rows)).tobytes() == want
    assert (await driver.predict(rows)).tobytes() == want


async def test_a_trace_tells_the_state_after_each_row(driver: Driver) -> None:
    rows = rows_of(0, 20)  # more than one tick
    await driver.create("traced")
    await driver.create("single")
    await driver.create("mate")
    mate = driver.step("mate", rows_of(9, 33))

    result = await driver.stepped("traced", rows, trace=True)

    assert result.trace is not None
    dims = [(t.name, t.role, t.dims) for t in result.trace]
    assert dims == [
        ("read_weights", "read_weights", (20, 2, 128)),
        ("write_weights", "write_weights", (20, 3, 128)),
    ]
    for row in range(20):
        await driver.stepped("single", rows[row : row + 1])
        state = {t.name: t.data for t in (await driver.memory("single")).tensors}
        for told in result.trace:
            size = len(told.data) // 20
            assert told.data[row * size : (row + 1) * size] == state[told.name], row
    assert (await mate.wait()).trace is None


async def test_a_memory_tells_every_tensor_of_the_state(driver: Driver) -> None:
    await driver.create("s")
    await driver.stepped("s", rows_of(0, 3))

    result = await driver.memory("s")

    assert (result.step, result.revision) == (3, 2)
    assert [(t.name, t.dims, len(t.data)) for t in result.tensors] == [
        ("memory", (128, 20), 10240),
        ("read_weights", (2, 128), 1024),
        ("write_weights", (3, 128), 1536),
        ("reads", (2, 20), 160),
        ("controller_hidden", (100,), 400),
        ("controller_cell", (100,), 400),
    ]


async def test_a_request_past_its_deadline_changes_nothing(make_driver: MakeDriver) -> None:
    driver = make_driver()
    await driver.create("s")
    await driver.stepped("s", rows_of(0, 2))
    before = await driver.memory("s")

    late = driver.send(driver.steps("s", rows_of(1, 4000)), timeout_s=0.05)
    behind = driver.send(driver.steps("s", rows_of(2, 1)), timeout_s=0.05)

    assert codes([await late.settled(), await behind.settled()]) == ["deadline_exceeded"] * 2
    assert await driver.memory("s") == before
    assert (await driver.stepped("s", rows_of(3, 1))).step == 3


async def test_a_deadline_that_passes_during_the_commit_tells_the_true_outcome(
    make_driver: MakeDriver,
) -> None:
    store = Held()
    driver = make_driver(store=store)
    await driver.create("s")
    store.gate.clear()

    slow = driver.send(driver.steps("s", rows_of(0, 2)), timeout_s=0.01)
    behind = driver.send(driver.steps("s", rows_of(1, 2)), timeout_s=0.01)
    await until(lambda: store.waiting == 1 and bool(behind.got))
    assert (await behind.settled()).code == "deadline_exceeded" and not slow.got
    store.gate.set()

    assert (await slow.wait()).step == 2


async def test_a_cancelled_request_changes_nothing(driver: Driver) -> None:
    await driver.create("s")
    before = await driver.memory("s")
    running = driver.step("s", rows_of(0, 4000))
    waiting = driver.step("s", rows_of(1, 1))
    await until(lambda: running.job is not None and running.job.done > 0)

    for answer in (waiting, running):
        driver.engine.cancel(answer)

    assert codes([await running.settled(), await waiting.settled()]) == ["client_gone"] * 2
    assert await driver.memory("s") == before
    assert (await driver.stepped("s", rows_of(2, 1))).step == 1


async def test_a_request_cancelled_while_its_session_is_loaded_changes_nothing(
    make_driver: MakeDriver,
) -> None:
    store = MemoryStore()
    first = make_driver(store=store)
    await first.create("s")
    second = make_driver(store=store)  # holds no session yet

    answer = second.step("s", rows_of(0, 1))
    second.engine.cancel(answer)

    assert (await answer.settled()).code == "client_gone"
    assert (await second.describe("s")).step == 0


async def test_a_cancelled_call_that_is_committing_is_committed(make_driver: MakeDriver) -> None:
    store = Held()
    driver = make_driver(store=store)
    await driver.create("s")
    store.gate.clear()
    answer = driver.step("s", rows_of(0, 3))
    await until(lambda: store.waiting == 1)

    driver.engine.cancel(answer)
    store.gate.set()

    assert (await answer.wait()).step == 3


async def test_nothing_runs_on_a_step_that_is_not_committed(make_driver: MakeDriver) -> None:
    store = Held()
    driver = make_driver(store=store)
    await driver.create("s")
    before = await driver.memory("s")
    store.gate.clear()
    first, second = (driver.step("s", rows_of(n, 1)) for n in range(2))
    await until(lambda: store.waiting == 1)
    await driver.predict(rows_of(2, 3))  # others go on meanwhile

    assert await driver.memory("s") == before
    assert not first.got and second.job is not None and not second.job.started
    store.gate.set()
    assert [(await a.wait()).step for a in (first, second)] == [1, 2]


async def test_a_failing_step_answers_internal_and_the_engine_goes_on(
    make_driver: MakeDriver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    driver = make_driver()
    (host,) = driver.engine.life.hosts.values()
    for name in ("s", "mate"):
        await driver.create(name)
    before = await driver.memory("s")

    def fail(*_: Any) -> Any:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as broken:
        broken.setattr(host.runtime.backend, "run", fail)
        answers = [driver.step("s", rows_of(0, 2)), driver.step("mate", rows_of(1, 2))]
        assert codes([await a.settled() for a in answers]) == ["internal", "internal"]

    assert "out of memory" in caplog.text
    assert await driver.memory("s") == before
    assert (await driver.stepped("s", rows_of(0, 2))).step == 2


async def test_rows_that_drive_outputs_past_float32_are_refused_and_change_nothing(
    driver: Driver,
) -> None:
    await driver.create("s")
    before = await driver.memory("s")
    rows = rows_of(0, 40)
    rows[30] = np.nan

    error = await driver.refused(driver.steps("s", rows))

    assert error.code == "not_finite"
    assert await driver.memory("s") == before
    assert (await driver.stepped("s", rows[:30])).step == 30


async def test_rows_of_another_width_are_refused_by_what_was_expected(driver: Driver) -> None:
    await driver.create("s")

    error = await driver.refused(driver.steps("s", rows_of(0, 2, width=7)))

    assert isinstance(error, WrongShape)
    assert "rows of 9 numbers" in error.detail and "got 7" in error.detail
    assert error.extra == {"expected": 9, "got": 7}


async def test_more_requests_than_the_queue_takes_are_refused(make_driver: MakeDriver) -> None:
    driver = make_driver(max_queue=3)
    for n in range(4):
        await driver.create(f"s{n}")

    answers = [driver.step(f"s{n}", rows_of(n, 2)) for n in range(4)]
    refused = driver.send(Predict("alice", "copy", None, rows_of(0, 2).tobytes(), (2, 9)))

    assert codes([await a.settled() for a in answers]) == [None, None, None, "queue_full"]
    assert (await refused.settled()).code == "queue_full"
    assert (await driver.stepped("s3", rows_of(3, 2))).step == 2


async def test_an_unknown_model_version_or_session_is_told_so(driver: Driver) -> None:
    await driver.create("s")
    rows = rows_of(0, 2)
    data = (rows.tobytes(), (2, 9))

    gone = await driver.refused(driver.steps("other", rows))
    assert gone.code == "session_not_found"
    assert gone.extra == {"expected": "the id of a live session", "got": "other"}
    for model, version in (("paste", None), ("copy", "7")):
        error = await driver.refused(Predict("alice", model, version, *data))
        assert isinstance(error, ModelNotFound) and error.extra["expected"] == "one of copy 1"


async def test_another_tenants_session_is_not_found(driver: Driver) -> None:
    await driver.create("s")
    await driver.stepped("s", rows_of(0, 1))
    eve = Driver(driver.engine, "eve")

    assert (await eve.refused(eve.steps("s", rows_of(0, 1)))).code == "session_not_found"
    assert (await eve.create("s")).step == 0
    assert (await eve.stepped("s", rows_of(0, 4))).step == 4
    assert (await driver.describe("s")).step == 1
    await eve.at_rest()


async def test_a_repeated_key_gets_the_first_reply_and_changes_nothing(driver: Driver) -> None:
    await driver.create("s")
    rows = rows_of(0, 3)
    first = await driver.stepped("s", rows, guard=key("k"))
    await driver.stepped("s", rows)

    again = await driver.stepped("s", rows, guard=key("k", if_match="not-1"))

    assert again.replayed and not first.replayed
    assert (again.outputs, again.step, again.revision) == (first.outputs, 3, 2)
    assert (await driver.describe("s")).step == 6


async def test_a_repeat_joins_the_first_while_it_runs(driver: Driver) -> None:
    await driver.create("s")
    rows = rows_of(0, 40)

    answers = [driver.step("s", rows, guard=key("k")) for _ in range(3)]
    driver.engine.cancel(answers[0])  # the others still wait for it
    results = [await answer.wait() for answer in answers[1:]]

    assert answers[0].code == "client_gone"
    assert results[0] == results[1] and results[0].step == 40
    assert (await driver.describe("s")).step == 40


async def test_a_key_with_other_rows_is_refused_running_or_done(driver: Driver) -> None:
    await driver.create("s")
    first = driver.step("s", rows_of(0, 40), guard=key("k"))

    assert isinstance(
        await driver.refused(driver.steps("s", rows_of(1, 1), guard=key("k", b"other"))), KeyReused
    )
    await first.wait()
    assert isinstance(
        await driver.refused(driver.steps("s", rows_of(1, 1), guard=key("k", b"other"))), KeyReused
    )
    assert (await driver.describe("s")).step == 40


async def test_a_key_is_free_again_when_its_request_failed(driver: Driver) -> None:
    await driver.create("s")
    bad = rows_of(0, 2)
    bad[1] = np.nan
    assert (await driver.refused(driver.steps("s", bad, guard=key("k")))).code == "not_finite"

    assert (await driver.stepped("s", rows_of(0, 2), guard=key("k", b"other"))).step == 2


async def test_a_key_older_than_the_kept_replies_is_answered_at_once(driver: Driver) -> None:
    await driver.create("s")
    first = await driver.stepped("s", rows_of(0, 1), guard=key("k0"))
    for n in range(1, 30):
        await driver.stepped("s", rows_of(n, 1), guard=key(f"k{n}"))

    again = driver.step("s", rows_of(0, 1), guard=key("k0", if_match=f"{first.incarnation}-1"))
    await again.settled()

    # Answered from what the store keeps longer, or refused: never run a second time.
    assert again.code == "revision_mismatch" or again.got[0].outputs == first.outputs
    assert (await driver.describe("s")).step == 30


async def test_a_key_that_only_the_store_knows_is_answered_from_there(
    make_driver: MakeDriver,
) -> None:
    class Brief(MemoryStore):
        """Lists no replies when a session is loaded, and knows them when it is written."""

        async def load(self, key: SessionKey) -> Stored | Gone | Damaged:
            stored = await super().load(key)
            return stored._replace(replies=[]) if isinstance(stored, Stored) else stored

    store = Brief()
    here, there, yonder = (make_driver(store=store) for _ in range(3))
    await here.create("s")
    for driver in (there, yonder):
        await driver.describe("s")  # held there, at revision 1
    first = await here.stepped("s", rows_of(0, 3), guard=key("k"))

    again = await there.stepped("s", rows_of(0, 3), guard=key("k"))
    other = await yonder.step("s", rows_of(1, 3), guard=key("k", b"other")).settled()

    assert again.replayed and again.outputs == first.outputs and again.step == 3
    assert other.code == "key_reused"
    assert (await there.stepped("s", rows_of(1, 1))).step == 4


async def test_an_if_match_that_holds_lets_the_step_through_and_another_does_not(
    driver: Driver,
) -> None:
    etag = f"{(await driver.create('s')).incarnation}-1"

    answers = [driver.step("s", rows_of(n, 2), guard=Guard(if_match=etag)) for n in range(2)]

    assert codes([await a.settled() for a in answers]) == [None, "revision_mismatch"]
    error = answers[1].got[0]
    told = {"step": 2, "revision": 2, "expected": etag, "got": f"{etag[:-1]}2"}
    assert isinstance(error, RevisionMismatch) and error.extra == told
    assert (await driver.describe("s")).step == 2


async def test_a_stale_engine_runs_its_steps_anew_in_their_order(make_driver: MakeDriver) -> None:
    store = MemoryStore()
    here, there, alone = (make_driver(store=store), make_driver(store=store), make_driver())
    parts = [rows_of(n, n + 1) for n in range(6)]
    await here.create("s")
    await there.describe("s")
    await here.stepped("s", parts[0])

    answers = [there.step("s", part) for part in parts[1:]]  # `there` believes it is at 0
    got = [(await answer.wait()) for answer in answers]

    await alone.create("s")
    want = [await alone.stepped("s", part) for part in parts][1:]
    assert [(r.outputs, r.step) for r in got] == [(r.outputs, r.step) for r in want]
    assert (await there.memory("s")).tensors == (await alone.memory("s")).tensors


async def test_an_if_match_stays_a_condition_when_a_stale_engine_runs_the_step_anew(
    make_driver: MakeDriver,
) -> None:
    store = MemoryStore()
    here, there = make_driver(store=store), make_driver(store=store)
    etag = f"{(await here.create('s')).incarnation}-1"
    await there.describe("s")
    await here.stepped("s", rows_of(0, 1))

    answer = await there.step("s", rows_of(1, 1), guard=Guard(if_match=etag)).settled()

    assert answer.code == "revision_mismatch"
    assert (await here.describe("s")).step == 1


async def test_a_session_deleted_elsewhere_is_gone_for_every_step_that_waits(
    make_driver: MakeDriver,
) -> None:
    store = MemoryStore()
    here, there = make_driver(store=store), make_driver(store=store)
    await here.create("s")
    await there.describe("s")
    await here.delete("s")

    answers = [there.step("s", rows_of(n, 2)) for n in range(3)]

    assert codes([await a.settled() for a in answers]) == ["session_not_found"] * 3


async def test_steps_and_a_delete_in_the_same_turn_are_all_answered(driver: Driver) -> None:
    await driver.create("s")
    answers = [driver.step("s", rows_of(n, 1)) for n in range(3)]

    await driver.delete("s")

    for answer in answers:
        await answer.settled()
    told = codes(answers)
    assert set(told) <= {None, "session_not_found"} and told == sorted(told, key=bool)
    assert (await driver.refused(driver.steps("s", rows_of(0, 1)))).code == "session_not_found"


async def test_a_step_whose_commit_meets_a_deleted_session_is_told_so_and_spares_its_successor(
    make_driver: MakeDriver,
) -> None:
    store = Held()
    driver = make_driver(store=store)
    await driver.create("s")
    store.gate.clear()
    old = driver.step("s", rows_of(0, 1))
    await until(lambda: store.waiting == 1)
    await driver.delete("s")
    reborn = await driver.create("s")
    behind = driver.step("s", rows_of(1, 1))
    store.gate.set()

    # The old step came before the delete, or comes after the creation: both are an order.
    assert (await old.settled()).code in ("session_not_found", None)
    assert (await behind.wait()).incarnation == reborn.incarnation
    assert (await driver.describe("s")).step == codes([old, behind]).count(None)


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (RuntimeError("the disk is full"), "commit_unknown"),
        (StoreUnavailable("the store is away", sent=True), "commit_unknown"),
        (StoreUnavailable("the store is away"), "store_away"),
    ],
    ids=["failed", "lost", "away"],
)
async def test_a_commit_that_fails_is_told_and_the_session_goes_on(
    make_driver: MakeDriver, failure: Exception, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Held()
    driver = make_driver(store=store)
    for name in ("s", "mate"):
        await driver.create(name)
    store.failure = failure

    answers = [driver.step("s", rows_of(0, 2)), driver.step("mate", rows_of(1, 2))]
    behind = driver.step("s", rows_of(2, 2))
    assert codes([await a.settled() for a in (*answers, behind)]) == [code] * 3
    assert str(failure) in caplog.text
    store.failure = None

    assert (await driver.stepped("s", rows_of(0, 2))).step == 2


async def test_what_waits_behind_a_lost_commit_sees_what_the_store_has(
    make_driver: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    store = Held()
    driver = make_driver(store=store)
    await driver.create("s")
    store.gate.clear()
    lost, behind = (driver.step("s", rows_of(n, 2), guard=key(f"k{n}")) for n in range(2))
    await until(lambda: store.waiting == 1)

    def fail() -> None:
        store.before = None
        raise ConnectionError("the answer never came")

    store.before = fail
    store.gate.set()

    assert (await lost.settled()).code == "commit_unknown"
    assert (await behind.wait()).step == 2  # the lost one was not written
    assert (await driver.stepped("s", rows_of(0, 2), guard=key("k0"))).step == 4
    assert "the answer never came" in caplog.text


async def test_a_commit_that_was_written_and_lost_shows_in_the_next_read(
    make_driver: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    class Mute(MemoryStore):
        mute = False

        async def commit(self, changes: Sequence[Change]) -> list[Outcome]:
            outcomes = await super().commit(changes)
            if self.mute:
                raise StoreUnavailable("the answer never came", sent=True)
            return outcomes

    store = Mute()
    driver = make_driver(store=store)
    await driver.create("s")
    store.mute = True
    assert (await driver.step("s", rows_of(0, 2), guard=key("k")).settled()).code == (
        "commit_unknown"
    )
    store.mute = False

    assert (await driver.describe("s")).step == 2
    again = await driver.stepped("s", rows_of(0, 2), guard=key("k"))
    assert again.replayed and again.step == 2
    assert (await driver.stepped("s", rows_of(1, 2))).step == 4


async def test_a_damaged_session_is_told_and_harms_no_other(make_driver: MakeDriver) -> None:
    class Rotten(MemoryStore):
        rotten = False

        async def load(self, key: SessionKey) -> Stored | Gone | Damaged:
            damaged = Damaged("checksum of its checkpoint") if key.id == "s" else None
            return damaged if damaged and self.rotten else await super().load(key)

    store = Rotten()
    first = make_driver(store=store)
    for name in ("s", "mate"):
        await first.create(name)
    store.rotten = True
    second = make_driver(store=store)

    error = await second.refused(second.steps("s", rows_of(0, 1)))

    assert error.code == "state_damaged" and "checksum of its checkpoint" in error.detail
    assert (await second.stepped("mate", rows_of(0, 1))).step == 1


async def test_a_drain_answers_what_was_taken_in_and_refuses_the_rest(driver: Driver) -> None:
    for n in range(3):
        await driver.create(f"s{n}")
    answers = [driver.step(f"s{n}", rows_of(n, 600)) for n in range(3)]
    answers.append(driver.step("s0", rows_of(5, 2)))

    draining = asyncio.ensure_future(driver.engine.drain())
    await until(lambda: driver.engine.draining)
    late = [await driver.refused(r) for r in (driver.steps("s0", rows_of(0, 1)), Health())]
    await asyncio.wait_for(draining, 20)

    assert [error.code for error in late] == ["draining", "draining"]
    assert [answer.got[0].step for answer in answers] == [600, 600, 600, 602]


async def test_a_drain_of_a_refused_and_a_failed_call_ends_at_once(driver: Driver) -> None:
    await driver.create("s")
    bad = rows_of(0, 1) * np.float32(np.nan)
    await driver.refused(driver.steps("s", bad))
    await driver.refused(driver.steps("s", rows_of(0, 1), guard=Guard(if_match="no-1")))

    await asyncio.wait_for(driver.engine.drain(), 1)


async def test_an_answer_is_given_to_each_of_many_clients_at_once(driver: Driver) -> None:
    for n in range(20):
        await driver.create(f"s{n}")

    async def client(n: int) -> list[int]:
        return [(await driver.stepped(f"s{n}", rows_of(n, 1))).step for _ in range(10)]

    assert await asyncio.gather(*(client(n) for n in range(20))) == [list(range(1, 11))] * 20


async def test_models_and_health_are_told(driver: Driver) -> None:
    (model,) = await driver.call(ListModels())
    assert (model.manifest.name, model.runtime, model.device) == ("copy", "onnx", "cpu")
    assert (model.slots, model.max_batch) == (8, 8) and model.batch_multiple in (1, 2, 4, 8, 16)
    assert (await driver.call(Health())).ready


async def test_a_call_that_breaks_the_engine_costs_its_caller_alone(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await driver.create("s")

    def fail(*_: Any) -> Any:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr("service.engine.stepper.make_job", fail)
        broken.setattr("service.engine.views.page", fail)
        for request in (driver.steps("s", rows_of(0, 1)), ListSessions("alice", 9, None, None)):
            error = await driver.refused(request)
            assert isinstance(error, Internal) and "ZeroDivisionError" in error.detail
    assert isinstance(await driver.refused(None), Internal)
    assert "a call failed" in caplog.text
    assert (await driver.stepped("s", rows_of(0, 1))).step == 1


async def test_a_checkpoint_follows_at_most_every_so_many_rows(make_driver: MakeDriver) -> None:
    store = MemoryStore()
    driver = make_driver(store=store, checkpoint_rows=5)
    await driver.create("s")

    for n, count in enumerate((1, 1, 1, 1, 2, 1, 1, 7, 1)):
        await driver.stepped("s", rows_of(n, count))
        stored = await store.load(SessionKey("alice", "s"))
        assert isinstance(stored, Stored)
        assert sum(record.count for record in stored.records) < 5
        assert stored.checkpoint.step in (0, 6, 15)  # and not with every step
    assert stored.checkpoint.step == 15


async def test_a_restored_engine_goes_on_bit_equal_from_checkpoint_and_records(
    make_driver: MakeDriver,
) -> None:
    store = MemoryStore()
    parts = [rows_of(n, n % 5 + 1) for n in range(12)]
    alone = make_driver(checkpoint_rows=5)
    await alone.create("s")
    want = [(await alone.stepped("s", part)).outputs for part in parts]
    want += [tensor.data for tensor in (await alone.memory("s")).tensors]

    await make_driver(store=store, checkpoint_rows=5).create("s")
    got: list[bytes] = []
    for part in parts:
        # Every step on an engine of its own: only the store knows the session.
        driver = make_driver(store=store, checkpoint_rows=5)
        got.append((await driver.stepped("s", part)).outputs)

    stored = await store.load(SessionKey("alice", "s"))
    assert isinstance(stored, Stored) and stored.records  # some rows have to be run again
    after = await make_driver(store=store).memory("s")
    assert got + [tensor.data for tensor in after.tensors] == want
    assert after.step == sum(len(part) for part in parts)


class Wire(asyncio.Transport):
    """Keeps what is written to a front."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return False


def fronts_of(driver: Driver, count: int) -> list[tuple[FrontConnection, Wire]]:
    """So many fronts of an engine, without their sockets."""
    known: set[FrontConnection] = set()
    found = [(FrontConnection(driver.engine, known), Wire()) for _ in range(count)]
    for front, wire in found:
        front.connection_made(wire)
    return found


def frame(*names: str, first: int = 1) -> bytes:
    rows = rows_of(0, 1)
    steps = [Steps("alice", name, rows.tobytes(), (1, 9), False, Guard()) for name in names]
    return frame_of([Call(first + at, step, 30.0) for at, step in enumerate(steps)])


async def test_what_comes_alone_is_answered_in_the_same_turn_and_what_comes_together_in_one_batch(
    driver: Driver,
) -> None:
    for name in ("a", "b", "c"):
        await driver.create(name)
    ((front, wire),) = fronts_of(driver, 1)

    front.data_received(frame("a"))
    assert len(wire.written) == 1
    front.data_received(frame("a", "b") + frame("c", first=3))
    assert len(wire.written) == 2

    (host,) = driver.engine.life.hosts.values()
    assert {size: total.count for size, total in host.statistics.batches.items()} == {1: 1, 3: 1}


async def test_fronts_whose_calls_come_in_one_turn_share_a_batch(driver: Driver) -> None:
    for name in ("a", "b", "c"):
        await driver.create(name)
    fronts = fronts_of(driver, 3)

    for (front, _), name in zip(fronts, ("a", "b", "c"), strict=True):
        front.data_received(frame(name))
    await until(lambda: all(wire.written for _, wire in fronts))

    (host,) = driver.engine.life.hosts.values()
    assert list(host.statistics.batches) == [3]
