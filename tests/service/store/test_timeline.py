"""What is kept of a session leads to every row of its history, and is bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.store.store import Retention
from service.store.timeline import Mark, outdated, route


def kept(
    records: list[Mark], checkpoints: list[Mark], retention: Retention
) -> tuple[list[Mark], list[Mark]]:
    old = outdated(records, checkpoints, retention)
    return (
        [mark for mark in records if mark.revision not in old.records],
        [
            mark
            for mark in checkpoints
            if mark.name is not None or mark.revision not in old.checkpoints
        ],
    )


def steps_of(marks: list[Mark]) -> list[int]:
    return [mark.step for mark in marks]


def test_what_came_after_the_checkpoint_before_the_history_is_kept():
    records = [Mark(at + 1, at, 1) for at in range(1, 13)]
    checkpoints = [Mark(at + 1, at) for at in (0, 4, 8, 12)]

    records, checkpoints = kept(records, checkpoints, Retention(0, 6, 4))

    assert steps_of(records) == [5, 6, 7, 8, 9, 10, 11, 12]  # 7 to 12, and the way there
    assert steps_of(checkpoints) == [4, 8, 12]


def test_without_a_history_the_newest_checkpoint_and_what_follows_is_all():
    records = [Mark(at + 1, at, 1) for at in range(1, 11)]
    checkpoints = [Mark(at + 1, at) for at in (0, 4, 8)]

    records, checkpoints = kept(records, checkpoints, Retention(0, 0, 4))

    assert (steps_of(records), steps_of(checkpoints)) == ([9, 10], [8])


def test_the_last_replies_outlive_the_history():
    records = [Mark(at + 1, at, 1, "key" if at in (2, 3, 5) else None) for at in range(1, 11)]
    checkpoints = [Mark(at + 1, at) for at in (0, 10)]

    records, _ = kept(records, checkpoints, Retention(2, 0, 4))

    assert steps_of(records) == [3, 5]


def test_one_checkpoint_a_band_stays_and_each_that_put_another_state_in_place():
    records = [Mark(at + 1, at, 1) for at in range(1, 10)]
    records[4] = Mark(6, 5, 0)  # a restore to step 5
    checkpoints = [Mark(at + 1, at) for at in range(10)]

    _, checkpoints = kept(records, checkpoints, Retention(0, 100, 4))

    assert steps_of(checkpoints) == [0, 4, 5, 8, 9]


def test_a_snapshot_stays_whatever_its_age():
    records = [Mark(at + 1, at, 1) for at in range(1, 11)]
    checkpoints = [Mark(1, 0), Mark(2, 1, name="kept"), Mark(11, 10)]

    _, checkpoints = kept(records, checkpoints, Retention(0, 0, 4))

    assert [(mark.step, mark.name) for mark in checkpoints] == [(1, "kept"), (10, None)]


def test_a_session_of_nothing_but_its_first_checkpoint_keeps_it():
    assert kept([], [Mark(1, 0)], Retention()) == ([], [Mark(1, 0)])


ACTIONS = st.lists(
    st.tuples(st.integers(0, 5), st.booleans(), st.booleans(), st.integers(0, 9)), max_size=120
)


@given(ACTIONS, st.integers(0, 12), st.integers(1, 6), st.integers(0, 3))
def test_every_row_of_the_history_can_be_rebuilt_at_any_time(
    actions: list[tuple[int, bool, bool, int]], rows: int, spacing: int, replies: int
):
    retention = Retention(replies, rows, spacing)
    records: list[Mark] = []
    checkpoints, made, step, unsaved = [Mark(1, 0)], [Mark(1, 0)], 0, 0
    for revision, (count, keyed, named, to) in enumerate(actions, start=2):
        step = step + count if count else to  # no rows: another state is put in place
        records.append(Mark(revision, step, count, "key" if keyed else None))
        made.append(records[-1])
        unsaved += count
        if named:
            checkpoints.append(Mark(revision, step, name=f"at {revision}"))
        if not count or unsaved >= 4:
            checkpoints.append(Mark(revision, step))
            records, checkpoints = kept(records, checkpoints, retention)
            unsaved = 0
        _holds(records, checkpoints, made, retention)


def _holds(
    records: list[Mark], checkpoints: list[Mark], made: list[Mark], retention: Retention
) -> None:
    wanted: list[Mark] = []
    rows = 0
    for mark in reversed(made[1:]):
        if rows >= retention.history_rows:
            break
        wanted.append(mark)
        rows += max(mark.rows, 1)
    for mark in [*wanted, made[-1]]:
        way = route(records, checkpoints, step=None, revision=mark.revision)
        assert way is not None, mark
        at = way.base.step
        for record in way.records:
            at += record.rows
            assert record.rows and record.step == at
        assert at == mark.step
    keyed = [mark for mark in made[1:] if mark.key is not None]
    assert set(keyed[len(keyed) - min(retention.replies, len(keyed)) :]) <= set(records)


def test_what_is_kept_stays_bounded():
    retention = Retention(replies=3, history_rows=20, checkpoint_spacing=8)
    records: list[Mark] = []
    checkpoints = [Mark(1, 0)]
    for revision in range(2, 1000):
        step = 0 if revision % 200 < 100 else revision
        records.append(Mark(revision, step, 0 if step == 0 else 1, "key"))
        checkpoints.append(Mark(revision, step))
        records, checkpoints = kept(records, checkpoints, retention)
        assert len(records) <= 20 + 8 + 3 and len(checkpoints) <= 20 + 8
