"""Who runs next: order within a session, turns between tenants, and nothing lost on the way."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
)

from service.engine.arena import Arena
from service.engine.scheduler import Full, Scheduler, TenantFull


class Task:
    """A work with a name to tell it by."""

    def __init__(
        self, name: str, tenant: str, session: str | None, rows: int = 1, urgency: int = 3
    ) -> None:
        self.name, self.tenant, self.session, self.left = name, tenant, session, rows
        self.urgency = urgency
        self.started = self.ended = False
        self.slots: list[int] = []

    def __repr__(self) -> str:
        return self.name


Tasks = list[Task]


def anywhere(_: Task) -> bool:
    """There is always room."""
    return True


def nowhere(_: Task) -> bool:
    """There is never room."""
    return False


def make(max_batch: int = 4, max_queue: int = 100, max_rows: int = 16) -> Scheduler[Task]:
    return Scheduler(max_batch, max_queue, max_rows)


def tick(
    scheduler: Scheduler[Task], place: Callable[[Task], bool] = anywhere
) -> tuple[list[str], int]:
    """Run one batch to its end: the names in it, and how many rows each ran."""
    batch, rows = scheduler.next_batch(place)
    for task in batch:
        task.left -= rows
        if task.left:
            scheduler.more(task)
        else:
            scheduler.finish(task)
    return [task.name for task in batch], rows


def admit(scheduler: Scheduler[Task], *tasks: Task) -> None:
    for task in tasks:
        scheduler.admit(task)


def test_a_tenant_has_its_share_of_the_queue_and_leaves_the_rest_to_others() -> None:
    scheduler: Scheduler[Task] = Scheduler(4, 8, 16, tenant_share=0.5)
    first = Task("a0", "a", "s0")
    admit(scheduler, first, *(Task(f"a{n}", "a", f"s{n}") for n in range(1, 4)))
    with pytest.raises(TenantFull) as full:
        scheduler.admit(Task("a4", "a", "s4"))
    assert full.value.most == 4
    admit(scheduler, *(Task(f"b{n}", "b", f"t{n}") for n in range(4)))
    with pytest.raises(Full) as full:
        scheduler.admit(Task("c0", "c", "u0"))
    assert full.value.most == 8 and not isinstance(full.value, TenantFull)
    scheduler.finish(first)
    scheduler.finish(first)
    admit(scheduler, Task("a5", "a", "s5"))
    with pytest.raises(Full):
        scheduler.admit(Task("a6", "a", "s6"))


def test_an_empty_scheduler_has_an_empty_batch() -> None:
    assert make().next_batch(anywhere) == ([], 0)


def test_works_of_different_sessions_share_a_batch_of_at_most_max_batch() -> None:
    scheduler = make(max_batch=3)
    admit(scheduler, *(Task(f"w{n}", "a", f"s{n}") for n in range(5)))

    assert tick(scheduler)[0] == ["w0", "w1", "w2"]
    assert tick(scheduler)[0] == ["w3", "w4"]


def test_a_session_has_at_most_one_work_in_a_batch_and_they_run_in_order() -> None:
    scheduler = make()
    admit(scheduler, *(Task(f"{s}{n}", "a", s) for n in range(3) for s in "xy"))

    assert [tick(scheduler)[0] for _ in range(3)] == [["x0", "y0"], ["x1", "y1"], ["x2", "y2"]]


def test_works_of_no_session_all_share_a_batch() -> None:
    scheduler = make()
    admit(scheduler, *(Task(f"w{n}", "a", None) for n in range(3)))

    assert tick(scheduler)[0] == ["w0", "w1", "w2"]


def test_a_sessions_next_work_waits_until_the_first_is_finished() -> None:
    scheduler = make()
    first, second = Task("first", "a", "x"), Task("second", "a", "x")
    admit(scheduler, first, second)
    scheduler.next_batch(anywhere)

    assert scheduler.next_batch(anywhere) == ([], 0)
    scheduler.finish(first)
    assert scheduler.next_batch(anywhere) == ([second], 1)


def test_turns_go_round_the_tenants_however_much_one_of_them_asks_for() -> None:
    scheduler = make(max_batch=2)
    admit(scheduler, *(Task(f"a{n}", "a", None) for n in range(6)))
    admit(scheduler, Task("b0", "b", None), Task("c0", "c", None))

    assert [tick(scheduler)[0] for _ in range(2)] == [["a0", "b0"], ["c0", "a1"]]


@pytest.mark.parametrize("max_batch", [1, 2, 3, 5, 7])
def test_two_busy_tenants_get_the_same_share_at_every_batch_size(max_batch: int) -> None:
    scheduler = make(max_batch=max_batch, max_queue=1000)
    admit(scheduler, *(Task(tenant, tenant, None) for _ in range(200) for tenant in "ab"))

    served = Counter(name for _ in range(20) for name in tick(scheduler)[0])

    assert abs(served["a"] - served["b"]) <= 1


def test_a_long_request_runs_in_every_batch_beside_short_ones() -> None:
    scheduler = make(max_batch=2)
    admit(scheduler, Task("long", "a", "x", 4))
    admit(scheduler, *(Task(f"b{n}", "b", None) for n in range(9)))

    assert [tick(scheduler)[0] for _ in range(4)] == [
        ["long", "b0"], ["b1", "long"], ["b2", "long"], ["b3", "long"],
    ]  # fmt: skip


def test_within_a_tenant_short_requests_pass_a_long_one() -> None:
    scheduler = make(max_batch=1)
    admit(scheduler, Task("long", "a", "x", 1000), Task("s1", "a", "y"), Task("s2", "a", "z"))

    ran = [tick(scheduler) for _ in range(4)]

    assert ran == [(["long"], 16), (["s1"], 1), (["s2"], 1), (["long"], 16)]


def test_a_batch_runs_as_many_rows_as_its_shortest_work_has_and_at_most_max_rows() -> None:
    scheduler = make(max_rows=5)
    admit(scheduler, Task("x", "a", "x", 9), Task("y", "a", "y", 3))

    assert tick(scheduler) == (["x", "y"], 3)
    assert tick(scheduler) == (["x"], 5)
    assert tick(scheduler) == (["x"], 1)


def test_more_works_than_max_queue_are_refused_until_one_has_finished() -> None:
    scheduler = make(max_queue=2)
    first, second, third = (Task(n, "a", n) for n in "xyz")
    admit(scheduler, first, second)

    with pytest.raises(Full):
        scheduler.admit(third)
    scheduler.next_batch(anywhere)
    with pytest.raises(Full):  # running is not finished
        scheduler.admit(third)
    scheduler.finish(first)
    scheduler.admit(third)

    assert scheduler.admitted == 2


def test_finishing_a_work_twice_does_nothing() -> None:
    scheduler = make()
    tasks = [Task(n, "a", "x") for n in ("first", "second", "third")]
    admit(scheduler, *tasks)
    scheduler.next_batch(anywhere)

    scheduler.finish(tasks[0])
    scheduler.finish(tasks[0])

    assert scheduler.admitted == 2
    assert tick(scheduler)[0] == ["second"]
    assert tick(scheduler)[0] == ["third"]
    assert (scheduler.admitted, scheduler.ready) == (0, 0)


def test_a_work_finished_while_it_waits_its_turn_never_runs() -> None:
    scheduler = make()
    ready, behind, other = Task("ready", "a", "x"), Task("behind", "a", "x"), Task("o", "b", None)
    admit(scheduler, ready, behind, other)

    scheduler.finish(ready)

    assert tick(scheduler)[0] == ["o", "behind"]
    assert (scheduler.admitted, scheduler.ready) == (0, 0)


def test_a_work_finished_in_the_middle_of_its_sessions_line_leaves_it() -> None:
    scheduler = make()
    tasks = [Task(n, "a", "x") for n in ("first", "second", "third")]
    admit(scheduler, *tasks)

    scheduler.finish(tasks[1])

    assert [tick(scheduler)[0] for _ in range(3)] == [["first"], ["third"], []]


def test_a_running_work_finished_outside_a_batch_lets_its_session_go_on() -> None:
    scheduler = make()
    long, after = Task("long", "a", "x", 40), Task("after", "a", "x")
    admit(scheduler, long, after)
    tick(scheduler)

    scheduler.finish(long)

    assert tick(scheduler)[0] == ["after"]
    assert (scheduler.admitted, scheduler.ready) == (0, 0)


def test_ready_counts_what_could_run_now_and_admitted_what_is_not_finished() -> None:
    scheduler = make(max_batch=2)
    admit(scheduler, Task("x0", "a", "x", 20), Task("x1", "a", "x"), Task("y0", "a", "y"))
    assert (scheduler.admitted, scheduler.ready) == (3, 2)

    batch, _ = scheduler.next_batch(anywhere)
    assert (scheduler.admitted, scheduler.ready) == (3, 0)
    scheduler.more(batch[0])
    scheduler.finish(batch[1])
    assert (scheduler.admitted, scheduler.ready) == (2, 1)
    scheduler.finish(batch[0])

    assert tick(scheduler)[0] == ["x1"]
    assert (scheduler.admitted, scheduler.ready) == (0, 0)


def test_a_refused_work_keeps_its_turn_and_only_running_ones_join_after_it() -> None:
    scheduler = make(max_batch=3)
    long, big, small = Task("long", "a", "x", 60), Task("big", "b", "y"), Task("small", "c", "z")
    admit(scheduler, long)
    tick(scheduler)
    admit(scheduler, big, small)
    asked: list[str] = []

    def place(task: Task) -> bool:
        asked.append(task.name)
        return task is not big

    assert tick(scheduler, place)[0] == ["long"]
    assert tick(scheduler, place)[0] == ["long"]
    assert asked == ["big", "big"] and scheduler.ready == 3
    assert tick(scheduler)[0] == ["big", "small", "long"]


def test_refused_works_are_asked_in_the_same_order_again() -> None:
    scheduler = make(max_batch=4)
    names = ["a0", "b0", "c0", "a1", "b1", "c1"]
    admit(scheduler, *(Task(name, name[0], None) for name in names))

    for _ in range(3):
        assert tick(scheduler, nowhere) == ([], 0)

    assert scheduler.ready == 6
    assert tick(scheduler)[0] + tick(scheduler)[0] == names


def test_who_is_refused_goes_before_tenants_that_were_not_asked() -> None:
    scheduler = make(max_batch=2)
    admit(scheduler, Task("r0", "r", "r0", 90), Task("q0", "q", "q0", 90))
    tick(scheduler)
    asked: list[str] = []

    def place(task: Task) -> bool:
        asked.append(task.name)
        return False

    admit(scheduler, Task("a0", "a", None))
    assert tick(scheduler, place)[0] == ["r0", "q0"]  # before it was a's turn
    admit(scheduler, Task("b0", "b", None))
    assert tick(scheduler, place)[0] == ["r0", "q0"]  # before it was b's turn
    assert tick(scheduler, place)[0] == ["r0", "q0"]

    assert asked == ["a0", "a0"]
    assert tick(scheduler)[0] == ["a0", "b0"]


def test_a_work_that_placing_finishes_refuses_nobody_else() -> None:
    scheduler = make()
    broken, behind, other = Task("broken", "a", "x"), Task("behind", "a", "x"), Task("o", "b", "y")
    admit(scheduler, broken, behind, other)

    def place(task: Task) -> bool:
        if task is broken:
            scheduler.finish(task)
        return task is not broken

    assert tick(scheduler, place)[0] == ["o", "behind"]
    assert (scheduler.admitted, scheduler.ready) == (0, 0)


def test_a_tenants_urgent_works_come_first_and_equally_urgent_ones_in_turn() -> None:
    scheduler = make(max_batch=2)
    for name, urgency in (("late", 7), ("plain", 3), ("soon", 0), ("sooner", 0)):
        admit(scheduler, Task(name, "a", name, urgency=urgency))
    assert tick(scheduler)[0] == ["soon", "sooner"]
    assert tick(scheduler)[0] == ["plain", "late"]


def test_an_urgent_work_comes_between_the_rows_of_a_long_one() -> None:
    scheduler = make(max_batch=1)
    admit(scheduler, Task("long", "a", "s", rows=40))
    assert tick(scheduler) == (["long"], 16)
    admit(scheduler, Task("urgent", "a", "t", urgency=0))
    assert [tick(scheduler)[0] for _ in range(3)] == [["urgent"], ["long"], ["long"]]


def test_urgency_takes_no_turn_from_another_tenant() -> None:
    scheduler = make(max_batch=2)
    admit(scheduler, *(Task(f"a{n}", "a", f"s{n}", urgency=0) for n in range(4)))
    admit(scheduler, *(Task(f"b{n}", "b", f"t{n}", urgency=7) for n in range(2)))
    assert [sorted(tick(scheduler)[0]) for _ in range(2)] == [["a0", "b0"], ["a1", "b1"]]


def test_urgency_does_not_change_the_order_within_a_session() -> None:
    scheduler = make()
    admit(scheduler, Task("first", "a", "s", urgency=7), Task("second", "a", "s", urgency=0))
    assert [tick(scheduler)[0] for _ in range(2)] == [["first"], ["second"]]


def test_refused_works_keep_their_place_among_those_as_urgent() -> None:
    scheduler = make()
    admit(scheduler, Task("one", "a", "s1", urgency=1), Task("two", "a", "s2", urgency=1))
    assert tick(scheduler, nowhere)[0] == []
    admit(scheduler, Task("three", "a", "s3", urgency=1), Task("zero", "a", "s0", urgency=0))
    assert tick(scheduler)[0] == ["zero", "one", "two", "three"]


def test_it_says_why_a_batch_was_no_larger() -> None:
    scheduler = make(max_batch=2)
    admit(scheduler, Task("a0", "a", "s"), Task("a1", "a", "s"))
    tick(scheduler)
    assert scheduler.limit == "sessions"  # a1 waited for a0
    tick(scheduler)
    assert scheduler.limit == "queue"
    admit(scheduler, *(Task(f"b{n}", "b", f"t{n}") for n in range(2)))
    tick(scheduler)
    assert scheduler.limit == "size"
    admit(scheduler, Task("c0", "c", "u0"), Task("c1", "c", "u1"))
    tick(scheduler, lambda task: task.name == "c0")
    assert scheduler.limit == "slots"


def test_what_waits_is_told_and_what_was_given_up_is_not() -> None:
    scheduler = make()
    kept, behind, free, gone = (
        Task("kept", "a", "s"), Task("behind", "a", "s"), Task("free", "b", None),
        Task("gone", "b", None),
    )  # fmt: skip
    admit(scheduler, kept, behind, free, gone)
    scheduler.finish(gone)
    assert list(scheduler.waiting()) == [kept, behind, free]


SLOTS, SESSIONS = 3, 9


class ThreeSlotsNineSessions(RuleBasedStateMachine):
    """Scheduler and arena as an engine uses them, with commits that come at any later time.

    An idle session keeps its committed slot until another needs it; a work takes one slot more
    to write to, and a commit swaps them.
    """

    works = Bundle("works")

    def __init__(self) -> None:
        super().__init__()
        self.scheduler: Scheduler[Task] = Scheduler(4, 40, 3)
        self.arena = Arena(SLOTS)
        self.committed: OrderedDict[str, int] = OrderedDict()  # session -> slot, idle ones first
        self.committing: list[Task] = []
        self.waiting: dict[str, list[Task]] = {}
        self.number = 0

    @rule(target=works, tenant=st.sampled_from("abc"), session=st.integers(0, SESSIONS - 1),
          rows=st.integers(1, 8), stateless=st.booleans(), urgency=st.integers(0, 2))  # fmt: skip
    def admit(self, tenant: str, session: int, rows: int, stateless: bool, urgency: int) -> object:
        self.number += 1
        name = None if stateless else f"s{session}"
        task = Task(f"w{self.number}", tenant, name, rows, urgency)
        try:
            self.scheduler.admit(task)
        except Full:
            assert self.scheduler.admitted == 40
            return multiple()
        self.waiting.setdefault(name or task.name, []).append(task)
        return task

    @rule()
    def run_a_batch(self) -> None:
        batch, rows = self.scheduler.next_batch(self.place)
        assert len(batch) <= 4 and all(len(task.slots) > 0 for task in batch)
        for task in batch:
            # In order, and never two of a session: each is the oldest of its session's.
            assert self.waiting[task.session or task.name][0] is task
            assert 0 < rows <= min(task.left, 3)
            task.left -= rows
            if task.left:
                self.scheduler.more(task)
            else:
                self.committing.append(task)

    @rule(which=st.integers(0, 100))
    def commit_one(self, which: int) -> None:
        if self.committing:
            task = self.committing.pop(which % len(self.committing))
            if task.session is not None:
                self.arena.release(self.committed.pop(task.session))
                self.committed[task.session] = task.slots.pop()
            self.end(task)

    @rule(task=works)
    def give_up(self, task: Task) -> None:
        if task not in self.committing:
            self.end(task)

    def place(self, task: Task) -> bool:
        away = task.session is not None and task.session not in self.committed
        busy = {t.session for line in self.waiting.values() for t in line if t.started}
        while self.arena.free < 1 + away:
            idle = [s for s in self.committed if s not in busy and s != task.session]
            if not idle:
                return False
            self.arena.release(self.committed.pop(idle[0]))
        if away and task.session is not None:
            self.committed[task.session] = self.arena.take()
        task.slots.append(self.arena.take())
        return True

    def end(self, task: Task) -> None:
        while task.slots:
            self.arena.release(task.slots.pop())
        line = self.waiting.get(task.session or task.name, [])
        if task in line:
            line.remove(task)
        self.scheduler.finish(task)

    @invariant()
    def counts_agree(self) -> None:
        waiting = [task for line in self.waiting.values() for task in line]
        assert self.scheduler.admitted == len(waiting)
        told = set(self.scheduler.waiting())
        assert told <= set(waiting) and {t for t in waiting if t.session is not None} <= told
        held = len(self.committed) + sum(len(task.slots) for task in waiting)
        assert self.arena.free == SLOTS - 1 - held

    def teardown(self) -> None:
        """Left to itself it finishes everything, in bounded time, and every slot comes back."""
        for _ in range(4 * 40 * 8):
            if not self.scheduler.admitted:
                break
            self.run_a_batch()
            self.commit_one(0)
        self.run_a_batch()  # passes over what was given up in its turn's wait
        assert (self.scheduler.admitted, self.scheduler.ready) == (0, 0)
        assert not any(self.waiting.values())
        for slot in self.committed.values():
            self.arena.release(slot)
        assert self.arena.free == SLOTS - 1


ThreeSlotsNineSessions.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
TestThreeSlotsNineSessions = ThreeSlotsNineSessions.TestCase
