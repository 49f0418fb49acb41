"""What is read off a run, on runs made by hand: T = 4 rows, N = 5 slots, M = 3 numbers a slot."""

from typing import Any

import numpy as np
import pytest

from service.insight.explain import explain
from service.insight.explained import Explained
from service.results import StateTensor, TraceResult

SLOTS, WIDTH = 5, 3
WRITTEN = (1, 2, 3, 1)  # the slots that the writer is on, row by row
READ = (1, 1, 2, 1)


def tensor(name: str, role: str, values: Any) -> StateTensor:
    array = np.array(values, np.float32)
    return StateTensor(name, role, array.shape, array.tobytes())


def focused(*slots: int, weight: float = 0.9) -> Any:
    """Weights (T, 1, N): mostly on these slots, the rest spread evenly."""
    weights = np.full((len(slots), 1, SLOTS), (1 - weight) / (SLOTS - 1))
    for at, slot in enumerate(slots):
        weights[at, 0, slot] = weight
    return weights


def memories() -> Any:
    """(T + 1, N, M): each row puts (row + 1) times a vector of its own into the slot written."""
    memory = np.zeros((1 + len(WRITTEN), SLOTS, WIDTH))
    for row, slot in enumerate(WRITTEN):
        memory[row + 1] = memory[row]
        memory[row + 1, slot] = (row + 1) * np.roll([3.0, 4.0, 0.0], row)
    return memory


def run(*trace: StateTensor, state: list[StateTensor] | None = None) -> Explained:
    kept = state or [
        tensor("memory", "memory", memories()),
        tensor("write_weights", "write_weights", focused(0, *WRITTEN)),
        tensor("read_weights", "read_weights", focused(0, *READ)),
    ]
    rows = len(kept[0].data) // (4 * int(np.prod(kept[0].dims[1:]))) - 1
    nothing = tensor("inputs", "other", np.zeros((rows, 2)))
    revisions = list(range(7, 7 + rows))
    return explain(TraceResult("abc", "1", 11, revisions, nothing, nothing, kept, list(trace)))


def column(found: Explained, head: str, field: str) -> list[Any]:
    return [getattr(one, field) for row in found.rows for one in row.heads if one.head == head]


def of_heads(name: str, role: str, rows: list[list[float]]) -> StateTensor:
    return tensor(name, role, np.array(rows)[:, None])


def test_rows_are_told_by_step_and_revision_with_the_slot_of_each_heads_largest_weight():
    found = run()
    assert [(row.step, row.revision) for row in found.rows] == [(11, 7), (12, 8), (13, 9), (14, 10)]
    assert (found.incarnation, found.slots) == ("abc", SLOTS)
    assert column(found, "write", "slot") == list(WRITTEN)
    assert column(found, "read", "slot") == list(READ)
    assert column(found, "read", "weight") == pytest.approx([0.9] * 4)


def test_the_age_of_what_is_read_counts_from_its_last_write():
    assert column(run(), "read", "age") == [0, 1, 1, 0]
    assert column(run(), "write", "age") == [None] * 4


def test_a_write_lasts_until_its_slot_moves_by_more_than_half_of_it():
    # Slot 1 is written in row 0 and again, by one four times as long, in row 3.
    assert column(run(), "write", "lasts") == [3, None, None, None]
    assert column(run(), "read", "lasts") == [None] * 4


def test_how_far_the_slot_of_a_write_moves_is_the_length_of_the_difference():
    # The last one makes 4 (3, 4, 0) of (3, 4, 0).
    assert column(run(), "write", "change") == pytest.approx([5.0, 10.0, 15.0, 15.0])


def test_a_head_that_is_spread_out_reads_nothing_of_any_age():
    state = [
        tensor("memory", "memory", memories()),
        tensor("write_weights", "write_weights", focused(0, *WRITTEN)),
        tensor("read_weights", "read_weights", np.full((5, 1, SLOTS), 1 / SLOTS)),
    ]
    found = run(state=state)
    assert column(found, "read", "age") == [None] * 4
    assert column(found, "read", "spread") == pytest.approx([SLOTS] * 4, rel=1e-5)
    assert found.heads[1].focused == 0


def test_a_gate_above_a_half_is_content_and_below_it_the_largest_shift():
    gate = of_heads("read_gate", "gate", [[0.9], [0.2], [0.1], [0.2]])
    shifts = [[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]
    found = run(gate, of_heads("read_shift", "shift", shifts))
    assert column(found, "read", "way") == ["content", "shift", "stays", "shift"]
    assert column(found, "read", "shift") == [-1, -1, 0, 1]
    assert column(found, "read", "gate") == pytest.approx([0.9, 0.2, 0.1, 0.2])
    assert found.heads[1].ways == {"content": 0.25, "shift": 0.5, "stays": 0.25}


def test_a_gate_over_three_ways_names_the_largest():
    modes = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3]]
    found = run(of_heads("read_modes", "gate", modes))
    assert column(found, "read", "way") == ["backward", "content", "forward", "content"]
    assert column(found, "read", "gate") == pytest.approx([0.7, 0.8, 0.6, 0.5])


def test_a_writer_with_two_gates_goes_to_a_free_slot_by_content_or_does_not_write():
    found = run(
        of_heads("write_allocation", "gate", [[0.9], [0.3], [0.9], [0.1]]),
        of_heads("write_gate", "gate", [[0.9], [0.8], [0.1], [0.9]]),
    )
    assert column(found, "write", "way") == ["allocation", "content", "nothing", "content"]
    assert column(found, "write", "gate") == pytest.approx([0.9, 0.3, 0.1, 0.1])


def test_without_any_trace_a_head_is_told_to_move_or_to_stay():
    assert column(run(), "read", "way") == ["moved", "stays", "moved", "moved"]


def test_a_key_is_nearest_to_the_slots_that_point_its_way():
    # After row 1 slot 1 holds (3, 4, 0) and slot 2 twice (0, 3, 4); the others nothing.
    key = of_heads("read_key", "key", [[3, 4, 0], [0, 6, 8], [1, 0, 0], [1, 0, 0]])
    nearest = column(run(key), "read", "nearest")
    assert (nearest[0][0].slot, nearest[0][0].cosine) == (1, pytest.approx(1.0))
    assert (nearest[1][0].slot, nearest[1][0].cosine) == (2, pytest.approx(1.0))
    assert nearest[1][1].cosine == pytest.approx(12 / 25)


def test_a_writers_key_is_compared_with_the_memory_before_its_write():
    key = of_heads("write_key", "key", [[3, 4, 0]] * 4)
    nearest = column(run(key), "write", "nearest")
    assert nearest[0][0].cosine == pytest.approx(0.0), "nothing was there yet"
    assert (nearest[1][0].slot, nearest[1][0].cosine) == (1, pytest.approx(1.0))


def test_of_a_key_behind_a_mask_only_the_parts_that_it_lets_through_are_compared():
    # After row 1 slot 1 holds (3, 4, 0) and slot 2 twice (0, 3, 4).
    key = of_heads("read_key", "key", [[3, 9, 4]] * 4)
    mask = of_heads("read_mask", "other", [[1, 0, 0], [0, 0, 1], [1, 1, 1], [1, 1, 1]])
    nearest = column(run(key, mask), "read", "nearest")
    assert (nearest[0][0].slot, nearest[0][0].cosine) == (1, pytest.approx(1.0))
    assert (nearest[1][0].slot, nearest[1][0].cosine) == (2, pytest.approx(1.0))
    assert nearest[1][1].cosine == pytest.approx(0.0), "of slot 1 that part is empty"


def test_what_is_erased_is_a_mean_and_what_is_added_a_length():
    erase = of_heads("write_erase", "erase", [[0.0, 0.5, 1.0]] * 4)
    add = of_heads("write_add", "add", [[3.0, 0.0, 4.0]] * 4)
    found = run(erase, add)
    assert column(found, "write", "erase") == pytest.approx([0.5] * 4)
    assert column(found, "write", "add") == pytest.approx([5.0] * 4)
    assert column(found, "read", "add") == [None] * 4


def test_moves_go_round_the_ring_the_short_way():
    state = [tensor("write_weights", "write_weights", focused(0, 4, 3, 3, 4))]
    assert run(state=state).heads[0].moves == {"back": 0.5, "stays": 0.25, "on": 0.25}


def test_heads_of_a_kind_are_told_apart_by_number():
    both = np.concatenate([focused(0, *READ), focused(0, *WRITTEN)], axis=1)
    found = run(state=[tensor("read_weights", "read_weights", both)])
    assert [head.head for head in found.heads] == ["read 1", "read 2"]
    assert column(found, "read 2", "slot") == list(WRITTEN)


def test_what_is_neither_memory_nor_weights_is_told_by_how_far_it_moved():
    stack = np.zeros((5, 4, 2))
    stack[2:, 1, 0] = 1.5
    counter = StateTensor("pc", "counter", (5, 1), np.arange(5, dtype=np.int64).tobytes())
    found = run(state=[tensor("stack", "stack", stack), counter])
    assert [(m.name, m.role, m.by) for m in found.rows[1].moved] == [
        ("stack", "stack", pytest.approx(1.5)), ("pc", "counter", 1.0)
    ]  # fmt: skip
    assert [m.by for m in found.rows[2].moved] == [0.0, 1.0]
    assert (found.slots, found.heads) == (0, [])


def test_a_model_without_a_memory_is_explained_by_what_moved_alone():
    found = run(state=[tensor("hidden", "controller", np.eye(5, 6))])
    assert [row.heads for row in found.rows] == [[], [], [], []]
    assert [row.moved[0].by for row in found.rows] == [2.0] * 4


def test_a_writer_without_a_key_goes_to_what_was_read_or_to_a_free_slot():
    found = run(
        of_heads("write_gate", "gate", [[0.9], [0.2], [0.6], [0.5]]),
        of_heads("read_key", "key", [[1.0, 0.0, 0.0]] * 4),
    )
    assert column(found, "write", "way") == ["reread", "allocation", "reread", "allocation"]
    assert column(found, "write", "gate") == pytest.approx([0.9, 0.8, 0.6, 0.5])
    assert column(found, "read", "way") == ["content"] * 4


def test_of_a_stack_it_is_told_what_was_called_what_returned_and_what_is_on_it():
    depth = tensor("depth", "counter", [[1], [2], [2], [1], [0]])
    programs = tensor("programs", "stack", [[5, 0, 0], [5, 6, 0], [5, 6, 0], [5, 6, 0], [5, 6, 0]])
    arguments = np.zeros((5, 3, 2))
    arguments[1:, 1] = (8, 9)
    state = [depth, programs, tensor("arguments", "stack", arguments)]
    chosen = tensor("chosen", "program", [[1.0], [2.0], [3.0], [4.0]])
    found = [
        row.calls for row in run(chosen, tensor("other", "key", [[0.0]] * 4), state=state).rows
    ]
    calls = [one for one in found if one is not None]
    assert [one.did for one in calls] == ["called", "stayed", "returned", "returned"]
    main, called = [5, 0, 0], [6, 8, 9]
    assert [one.stack for one in calls] == [[main, called], [main, called], [main], []]
    assert [one.told for one in calls] == [{"chosen": [number]} for number in (1, 2, 3, 4)]


def test_without_a_stack_no_calls_are_told():
    assert [row.calls for row in run().rows] == [None] * 4
