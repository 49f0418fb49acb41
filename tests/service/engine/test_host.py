"""A host ticks batches, keeps a session's committed state apart from what a job writes, and puts
idle sessions off the device for busy ones."""

from __future__ import annotations

from time import monotonic, time
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from export.bundle import Bundle
from model.state import TensorSpec
from service.engine.host import Host
from service.engine.job import Job, make_job
from service.engine.metrics import EngineMetrics
from service.engine.packing import pack, unpack
from service.engine.rerun import rerun, rerun_in_turns
from service.engine.runtime import Runtime
from service.engine.scheduler import Scheduler
from service.engine.sessions import Session
from service.errors import ClientGone, Internal, NotFinite, NtmError, RevisionMismatch, WrongShape
from service.requests import Guard, Predict, Steps
from service.store.store import Checkpoint, Record, SessionRow
from tests.service.engine.driver import Floats, PoisonedArena, assert_no_slot_leaked, rows_of
from tests.service.engine.test_runtime import Summing


class Told:
    """A ticket outside any loop."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self.request_id = self.trace = ""
        self.got: list[Any] = []

    def reply(self, result: Any) -> None:
        self.got.append(result)

    def fail(self, error: NtmError) -> None:
        self.got.append(error)


def host_of(bundle: Bundle, runtime: Runtime, slots: int = 8, max_batch: int = 8) -> Host:
    arena = PoisonedArena(slots, runtime)
    return Host(bundle, runtime, arena, Scheduler(max_batch, 100), EngineMetrics())


def session_on(host: Host, name: str = "s") -> Session:
    now = time()
    manifest = host.manifest
    made_of = (manifest.name, manifest.version, host.bundle.fingerprint)
    session = Session(SessionRow("alice", name, *made_of, "inc", 1, 0, now, now, 60.0), host)
    host.restore(session, Checkpoint(1, 0, None), [])
    return session


def admit(
    host: Host, session: Session | None, rows: Floats, guard: Guard | None = None
) -> tuple[Job, Told]:
    dims = (rows.shape[0], rows.shape[1])
    request: Steps | Predict
    if session is None:
        request = Predict("alice", "copy", None, rows.tobytes(), dims)
    else:
        request = Steps("alice", session.row.id, rows.tobytes(), dims, False, guard or Guard())
    job, told = make_job(request, session, host, 60.0), Told()
    host.scheduler.admit(job)
    job.join(told)
    if session is not None:
        session.jobs[job] = None
    return job, told


def commit(job: Job) -> None:
    """What the engine does once the store has a step."""
    assert job.session is not None
    row = job.session.row
    job.host.commit(job)
    job.session.row = replace(row, revision=row.revision + 1, step=row.step + job.count)


def packed(host: Host, session: Session) -> bytes:
    return pack(host.placement.state(session))


@pytest.fixture
def host(bundle: Bundle, runtimes: Any) -> Host:
    return host_of(bundle, runtimes("onnx"))


def test_a_new_session_shares_the_initial_slot_and_costs_none(host: Host) -> None:
    sessions = [session_on(host, f"s{n}") for n in range(20)]

    assert host.placement.arena.free == 7 and host.placement.resident == 0
    assert {session.slot for session in sessions} == {0}


def test_a_job_changes_nothing_until_it_is_committed(host: Host) -> None:
    session = session_on(host)
    initial = packed(host, session)
    job, _ = admit(host, session, rows_of(0, 3))

    ran, finished = host.tick()

    assert ran and finished == [job]
    assert packed(host, session) == initial
    commit(job)
    assert packed(host, session) != initial
    assert_no_slot_leaked(host)


def test_a_job_given_up_after_it_ran_leaves_the_committed_state_and_frees_its_slot(
    host: Host,
) -> None:
    session = session_on(host)
    first, _ = admit(host, session, rows_of(0, 2))
    host.tick()
    commit(first)
    before = packed(host, session)
    job, told = admit(host, session, rows_of(1, 40))
    host.tick()
    assert 0 < job.done < 40

    host.give_up(job, ClientGone("gone"))

    assert packed(host, session) == before and session.pins == 0
    assert [type(error) for error in told.got] == [ClientGone]
    assert host.tick() == (False, [])
    assert_no_slot_leaked(host)


def test_giving_a_job_up_twice_releases_and_tells_once(host: Host) -> None:
    session = session_on(host)
    job, told = admit(host, session, rows_of(0, 3))
    host.tick()

    host.give_up(job, ClientGone("gone"))
    host.give_up(job, ClientGone("gone"))

    assert len(told.got) == 1 and session.pins == 0 and not session.jobs
    assert_no_slot_leaked(host)


def test_the_least_recently_used_idle_session_is_put_off_the_device(
    bundle: Bundle, runtimes: Any
) -> None:
    host = host_of(bundle, runtimes("onnx"), slots=4)  # three states fit
    sessions = [session_on(host, f"s{n}") for n in range(4)]
    states: list[bytes] = []

    def run(at: int) -> None:
        job, _ = admit(host, sessions[at], rows_of(at, 2))
        host.tick()
        commit(job)
        states.append(packed(host, sessions[at]))

    for at in (0, 1, 0, 2, 3):
        run(at)
    assert [session.slot is None for session in sessions] == [False, True, False, False]
    assert sessions[1].saved == states[1] and host.placement.resident == 3
    run(1)  # back on the device, with a slot to write to beside
    assert [session.slot is None for session in sessions] == [True, False, True, False]
    assert sessions[0].saved == states[2] and sessions[2].saved == states[3]
    assert sessions[1].saved is None


def test_a_session_put_off_the_device_goes_on_where_it_stood(bundle: Bundle, runtimes: Any) -> None:
    rows = [rows_of(seed, 3) for seed in range(3)]
    alone = host_of(bundle, runtimes("torchscript"), slots=4)
    # One runtime a kind: the reference's outputs are taken before the other host exists.
    want: list[list[bytes]] = []
    for at in range(3):
        session = session_on(alone, f"s{at}")
        want.append([])
        for seen in rows:
            job, _ = admit(alone, session, seen)
            while not (finished := alone.tick()[1]):
                pass
            want[at].append(finished[0].output().tobytes())
            commit(job)

    host = host_of(bundle, runtimes("torchscript"), slots=3)
    sessions = [session_on(host, f"s{n}") for n in range(3)]
    for turn, seen in enumerate(rows):
        for at, session in enumerate(sessions):
            job, _ = admit(host, session, seen)
            while not (finished := host.tick()[1]):
                pass
            assert finished[0].output().tobytes() == want[at][turn]
            commit(job)
    evicted = host.metrics.registry.get_sample_value(
        "ntm_evictions_total", {"model": "copy", "reason": "device_full"}
    )
    assert evicted and evicted >= 6


def test_a_session_with_work_under_way_is_never_put_off(bundle: Bundle, runtimes: Any) -> None:
    host = host_of(bundle, runtimes("onnx"), slots=4)
    busy, other, third = (session_on(host, name) for name in ("busy", "other", "third"))
    for session in (busy, other):
        job, _ = admit(host, session, rows_of(0, 1))
        host.tick()
        commit(job)
    running, _ = admit(host, busy, rows_of(1, 2))
    host.tick()  # takes the last slot, and waits for its commit

    waiting, _ = admit(host, third, rows_of(2, 1))
    assert host.tick() == (True, [waiting])  # in the place of `other`
    assert other.slot is None and busy.slot is not None
    refused, _ = admit(host, other, rows_of(3, 1))
    assert host.tick() == (False, [])
    commit(running)
    commit(waiting)
    assert host.tick() == (True, [refused])
    commit(refused)
    assert_no_slot_leaked(host)


def test_outputs_that_are_not_finite_cost_that_job_alone(host: Host) -> None:
    sessions = [session_on(host, f"s{n}") for n in range(3)]
    clean, _ = admit(host, sessions[0], rows_of(0, 2))
    host.tick()
    want = clean.output().tobytes()
    host.release(clean)
    bad = rows_of(1, 2)
    bad[1, 4] = np.nan
    job, _ = admit(host, sessions[0], rows_of(0, 2))
    poisoned, told = admit(host, sessions[1], bad)

    _, finished = host.tick()

    assert finished == [job] and job.output().tobytes() == want
    assert [type(error) for error in told.got] == [NotFinite]
    assert poisoned.ended and not sessions[1].jobs
    assert packed(host, sessions[1]) == packed(host, sessions[2])


@pytest.mark.parametrize("size", [1e30, 3.4e38, np.inf])
def test_a_committed_state_is_finite_however_large_the_rows(host: Host, size: float) -> None:
    session = session_on(host)
    for seed in range(3):
        rows = np.sign(rows_of(seed, 4)) * np.float32(size)
        job, told = admit(host, session, rows.astype(np.float32))
        if host.tick()[1]:
            commit(job)
        else:
            assert [type(error) for error in told.got] == [NotFinite]
        assert all(np.isfinite(array).all() for array in host.placement.state(session))


def test_a_failing_step_fails_its_batch_and_the_host_goes_on(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sessions = [session_on(host, f"s{n}") for n in range(2)]
    told = [admit(host, session, rows_of(0, 1))[1] for session in sessions]

    def fail(*_: Any) -> Any:
        raise RuntimeError("the device has gone")

    with monkeypatch.context() as broken:
        broken.setattr(host.runtime.backend, "run", fail)
        assert host.tick() == (True, [])
    assert [type(t.got[0]) for t in told] == [Internal, Internal]
    assert "the device has gone" in caplog.text and "RuntimeError" in str(told[0].got[0])
    assert_no_slot_leaked(host)

    job, _ = admit(host, sessions[0], rows_of(0, 1))
    assert host.tick() == (True, [job])


def test_a_state_that_cannot_be_brought_costs_its_own_job_and_keeps_the_state(
    bundle: Bundle,
    runtimes: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    host = host_of(bundle, runtimes("onnx"))
    away, other = session_on(host, "away"), session_on(host, "other")
    state = pack([array + np.float32(0.25) for array in host.initial()])
    host.placement.put(away, state)
    _, told = admit(host, away, rows_of(0, 1))
    job, _ = admit(host, other, rows_of(1, 1))

    def fail(*_: Any) -> None:
        raise MemoryError("no room on the device")

    with monkeypatch.context() as broken:
        broken.setattr(host.runtime, "write", fail)
        broken.setattr("tests.service.engine.driver.fill", lambda *_: None)
        assert host.tick() == (True, [job])
    assert [type(error) for error in told.got] == [Internal]
    assert "no room on the device" in caplog.text
    assert away.saved == state and away.slot is None and away.pins == 0
    commit(job)
    assert_no_slot_leaked(host)

    again, _ = admit(host, away, rows_of(0, 1))
    assert host.tick() == (True, [again])
    assert away.saved is None


def test_an_if_match_is_held_against_the_session_when_its_turn_comes(host: Host) -> None:
    session = session_on(host)
    first, _ = admit(host, session, rows_of(0, 1))
    second, told = admit(host, session, rows_of(1, 1), Guard(if_match=session.etag))
    host.tick()
    commit(first)

    assert host.tick() == (True, [])

    (error,) = told.got
    assert isinstance(error, RevisionMismatch)
    assert error.extra == {"step": 1, "revision": 2, "expected": "inc-1", "got": "inc-2"}
    assert 'expected "inc-1", the session is at "inc-2"' in str(error)
    assert second.ended
    assert_no_slot_leaked(host)


async def test_a_restored_session_is_bit_equal_to_one_that_never_stopped(
    runtime: Runtime, bundle: Bundle
) -> None:
    host = host_of(bundle, runtime)
    session = session_on(host)
    states: list[bytes] = []
    records: list[Record] = []
    for revision, count in enumerate((2, 3, 1, 4), start=2):
        rows = rows_of(revision, count)
        job, _ = admit(host, session, rows)
        while not host.tick()[1]:
            pass
        commit(job)
        states.append(packed(host, session))
        row = session.row
        records.append(Record("step", row.revision, row.step, rows.tobytes(), b"", count))

    for since in range(4):
        base = None if since == 0 else states[since - 1]
        step = 0 if since == 0 else records[since - 1].step
        again = session_on(host, "again")
        host.restore(again, Checkpoint(since + 1, step, base), records[since:])
        assert packed(host, again) == states[-1], since
        assert again.unsaved == sum(record.count for record in records[since:])
    first_of_last = replace(records[3], rows=rows_of(5, 4)[:1].tobytes(), count=1)
    within = await rerun_in_turns(runtime, None, records, leave_out=3)
    assert within == rerun(runtime, states[2], [first_of_last]) != states[-1]


def test_a_state_of_another_size_is_refused(host: Host) -> None:
    with pytest.raises(ValueError, match=f"expected {host.state_bytes} bytes of state, got 3"):
        unpack(host.runtime.spec, b"abc")
    with pytest.raises(ValueError, match="bytes of state"):
        host.restore(session_on(host), Checkpoint(1, 0, b"abc"), [Record("step", 2, 0)])


@pytest.mark.parametrize(
    ("dims", "size"), [((2, 7), 56), ((0, 9), 0), ((2, 9), 71), ((-2, 9), 72), ((2, 9), 76)]
)
def test_rows_that_do_not_fit_the_model_are_refused(
    host: Host, dims: tuple[int, int], size: int
) -> None:
    request = Predict("alice", "copy", None, b"\0" * size, dims)
    with pytest.raises(WrongShape):
        make_job(request, None, host, 1.0)


SLOTS, SESSIONS = 3, 9


class ThreeSlotsNineSessions(RuleBasedStateMachine):
    """The real host on three slots: nine sessions that sum their rows, and commits at any time."""

    host: Host

    def __init__(self) -> None:
        super().__init__()
        self.host = type(self).host
        runtime = self.host.runtime
        self.host.placement.arena = PoisonedArena(SLOTS, runtime)
        self.sessions = [session_on(self.host, f"s{n}") for n in range(SESSIONS)]
        self.sums = [np.zeros(3, np.float32) for _ in self.sessions]
        self.open: dict[Job, Told] = {}
        self.finished: list[Job] = []
        self.asked = 0

    @rule(which=st.integers(0, SESSIONS), count=st.integers(1, 40))
    def admit(self, which: int, count: int) -> None:
        if self.host.scheduler.admitted == self.host.scheduler.max_queue:
            return
        self.asked += 1
        rows = np.full((count, 3), self.asked % 7 + 1, np.float32)
        session = self.sessions[which] if which < SESSIONS else None
        job, told = admit(self.host, session, rows)
        self.open[job] = told

    @rule()
    def tick(self) -> None:
        _, finished = self.host.tick()
        for job in finished:
            job.committing = True
        self.finished += finished

    @rule(which=st.integers(0, 99))
    def settle(self, which: int) -> None:
        if not self.finished:
            return
        job = self.finished.pop(which % len(self.finished))
        start = np.zeros(3, np.float32)
        if job.session is not None:
            at = self.sessions.index(job.session)
            start = self.sums[at]
        rows = np.frombuffer(job.rows, np.float32).reshape(job.count, -1)
        want = start + np.cumsum(rows, 0, dtype=np.float32)
        assert job.output().tobytes() == want.astype(np.float32).tobytes()
        del self.open[job]
        if job.session is None:
            self.host.release(job)
        elif which % 5 == 0:
            self.host.give_up(job, Internal("the store said no"))
        else:
            self.sums[self.sessions.index(job.session)] = want[-1].astype(np.float32)
            commit(job)

    @rule(which=st.integers(0, 99))
    def give_up(self, which: int) -> None:
        waiting = [job for job in self.open if not job.committing]
        if waiting:
            job = waiting[which % len(waiting)]
            self.host.give_up(job, ClientGone("gone"))
            assert len(self.open.pop(job).got) == 1

    @invariant()
    def no_session_has_two_jobs_under_way_and_no_slot_is_lost(self) -> None:
        for session in self.sessions:
            started = [job for job in session.jobs if job.started]
            assert len(started) == session.pins <= 1
        working = sum(job.working is not None for job in self.open)
        assert self.host.placement.arena.free == SLOTS - 1 - self.host.placement.resident - working
        assert self.host.scheduler.admitted == len(self.open)

    def teardown(self) -> None:
        """Left to itself it finishes everything, and every session is where its rows put it."""
        begun = monotonic()
        while self.open:
            assert monotonic() - begun < 20, "stuck"
            self.tick()
            while self.finished:
                self.settle(1)
        self.tick()  # passes over what was given up while it waited for its turn
        for session, total in zip(self.sessions, self.sums, strict=True):
            assert self.host.placement.state(session)[0].tobytes() == total.tobytes()
            self.host.placement.forget(session)
        assert self.host.scheduler.ready == 0
        assert self.host.placement.arena.free == SLOTS - 1


def test_three_slots_serve_nine_sessions_whatever_comes_when(bundle: Bundle) -> None:
    initial = [np.zeros(3, np.float32), np.zeros((), np.float32)]
    runtime = Runtime(Summing(lambda size, at: 0), Summing.spec, 3, SLOTS, 4, initial)
    manifest = replace(
        bundle.manifest,
        state=Summing.spec,
        input=TensorSpec("x", (3,), "other"),
        output=TensorSpec("y", (3,), "other"),
    )
    summing = replace(bundle, manifest=manifest)
    ThreeSlotsNineSessions.host = host_of(summing, runtime, slots=SLOTS, max_batch=4)
    case = ThreeSlotsNineSessions.TestCase
    case.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
    case("runTest").runTest()
