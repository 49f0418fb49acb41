"""The programs that teach, and the task of running them."""

from __future__ import annotations

from itertools import product
from typing import cast

import pytest
import torch

from model.npi_interpreter import trace
from model.npi_layout import LAYOUTS
from model.npi_numbers import number_on, typed_columns, typed_list
from model.tasks import make_task
from model.tasks.problems import draw_lists, draw_numbers
from model.tasks.program_task import ProgramTask
from model.tasks.programs import PROGRAMS

ADDITION, SORTING = LAYOUTS["addition"], LAYOUTS["sorting"]
ADDERS, SORTERS = ("addition", "recursive-addition"), ("bubble-sort", "recursive-bubble-sort")


def program_task(name: str) -> ProgramTask:
    return cast(ProgramTask, make_task(name))


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", ADDERS)
def test_the_programs_for_addition_add(name: str) -> None:
    for length in (1, 2, 3, 7, 40):
        for typed in draw_numbers(seeded(), 20, length):
            told, after = trace(PROGRAMS[name], ADDITION, length + 1, typed)
            first, second, _, out = (number_on(row) for row in after.pad)
            assert out == (first or 0) + (second or 0) and not after.stack
            assert told[-1].program == -1


@pytest.mark.parametrize("name", SORTERS)
def test_the_programs_for_sorting_sort(name: str) -> None:
    lists = [list(values) for n in (1, 2, 3) for values in product((0, 4, 9), repeat=n)]
    for values in [*lists, [3, 1, 4, 1, 5, 9, 2, 6], [9, 8, 7, 6, 5]]:
        after = trace(PROGRAMS[name], SORTING, len(values), typed_list(values))[1]
        assert after.pad[0] == sorted(values)


def test_a_recursive_program_calls_as_deep_as_the_number_is_long_and_the_other_does_not() -> None:
    typed = typed_columns([[9] * 30, [1]])
    for name, deepest in (("addition", 3), ("recursive-addition", 32)):
        depth = found = 1
        for decision in trace(PROGRAMS[name], ADDITION, 31, typed)[0]:
            depth += (decision.program > 0) - (decision.program < 0)
            found = max(found, depth)
        assert found == deepest


def test_numbers_have_the_length_asked_for_and_some_pairs_a_shorter_one() -> None:
    pairs = draw_numbers(seeded(), 200, 5)
    assert all(len(typed) == 5 for typed in pairs)
    shorter = [any(-1 in column for column in typed) for typed in pairs]
    assert 40 < sum(shorter) < 160
    assert not any(column == (-1, -1) for typed in pairs for column in typed)
    assert all(len(typed) == 5 for typed in draw_lists(seeded(), 3, 5))


def test_a_sequence_is_the_typed_rows_and_then_a_row_a_tick() -> None:
    task = program_task("addition")
    inputs, targets, mask = task.of_problems([[(3, 4)], typed_columns([[9], [9]])], told=True)
    size = ADDITION.decision_size
    assert inputs[0, 0, size:].tolist() == [1, 3, 4] and not inputs[0, 0, :size].any()
    told = [ADDITION.told(ADDITION.decide(row)) for row in targets[0, mask[0]].tolist()]
    moved = [f"ACT left {name}" for name in ADDITION.pointers]
    first = ["ADD1", "ACT write out 7", "return", "LSHIFT", *moved, "return"]
    assert told == [*first, "return"]
    assert inputs[0, 1:, :size].equal(targets[0, 1:, :size])
    last = mask[0].nonzero()[-1].item()
    assert targets[0, :, size].nonzero().tolist() == [[last]] and mask.sum(dim=1).tolist() == [
        10,
        24,
    ]
    assert not inputs[0, last + 1 :].any() and not targets[..., size + 1].any()


def test_a_test_tells_nothing_but_the_numbers() -> None:
    task = program_task("addition")
    told, untold = (task.of_problems([[(3, 4)]], told=flag) for flag in (True, False))
    assert untold.targets.equal(told.targets) and untold.mask.equal(told.mask)
    assert untold.inputs[:, 0].equal(told.inputs[:, 0]) and not untold.inputs[:, 1:].any()
    assert not task.at_length(seeded(), 2, 3).inputs[:, 3:].any()


def test_a_run_is_right_where_each_of_its_decisions_is() -> None:
    task = program_task("addition")
    batch = task.of_problems([[(3, 4)]] * 3, told=False)
    logits = 2 * batch.targets - 1
    size = ADDITION.decision_size
    logits[0, 1, :size] *= 0.1  # surer or not, the largest is the same
    logits[0, 0] = 9  # not scored
    logits[0, 3, 1:size] = 5  # of a return the program does not matter
    logits[1, 1, 1] = 3  # ACT instead of ADD1
    logits[2, -1, 0] = -1  # no return
    assert task.right(logits, batch).tolist() == [1, 0, 0]
