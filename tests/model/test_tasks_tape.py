import math
from typing import Any, cast

import pytest
import torch
from torch import Generator, Tensor

from model.nram import NRAM
from model.rollout import first_state, judging, rollout
from model.tasks import Batch, make_task
from model.tasks.tape_problems import PROBLEMS
from model.tasks.tape_task import ELSEWHERE, WHEN, TapeTask, halting
from model.tasks.task import Judged, Queried, Undecided, join

B = 6


def task_of(name: str) -> TapeTask:
    return cast(TapeTask, make_task(name))


def drawn(name: str, length: int, seed: int = 1) -> tuple[Batch, list[list[int]], list[list[int]]]:
    """A batch, and its tapes, given and right, up to the last cell of the problem."""
    batch = task_of(name).at_length(Generator().manual_seed(seed), B, length)
    cells = PROBLEMS[name].cells(length)
    given = batch.state["tape"].argmax(dim=2)
    assert (given[:, cells:] == 0).all() and (batch.targets[:, 0, 0, cells:] == 0).all()
    return batch, given[:, :cells].tolist(), batch.targets[:, 0, 0, :cells].tolist()


def changed(batch: Batch, row: int) -> list[int]:
    return batch.targets[row, 0, 1].nonzero().flatten().tolist()


def test_access_puts_the_element_that_the_first_cell_names_there() -> None:
    batch, given, right = drawn("access", 5)
    for row, (before, after) in enumerate(zip(given, right, strict=True)):
        array = before[1:6]
        assert before == [before[0], *array, 0] and 0 <= before[0] < 5 and min(array) > 0
        assert after == [array[before[0]], *array, 0] and changed(batch, row) == [0]


def test_increment_adds_one_to_each_element_and_leaves_the_end() -> None:
    batch, given, right = drawn("increment", 5)
    most = batch.state["tape"].shape[1] - 1
    for row, (before, after) in enumerate(zip(given, right, strict=True)):
        assert after == [*(value + 1 for value in before[:5]), 0]
        assert max(after) <= most and min(before[:5]) > 0
        assert changed(batch, row) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("name", "way"), [("tape-copy", 1), ("reverse", -1)])
def test_copy_and_reverse_put_the_array_behind_itself(name: str, way: int) -> None:
    batch, given, right = drawn(name, 5)
    for row, (before, after) in enumerate(zip(given, right, strict=True)):
        array = before[1:6]
        assert before == [6, *array, 0, 0, 0, 0, 0] and min(array) > 0
        assert after == [6, *array, *array[::way]]
        assert changed(batch, row) == [6, 7, 8, 9, 10]


def test_swap_exchanges_the_two_elements_that_are_named() -> None:
    batch, given, right = drawn("swap", 5)
    for row, (before, after) in enumerate(zip(given, right, strict=True)):
        p, q = before[:2]
        wanted = list(before)
        wanted[p + 2], wanted[q + 2] = before[q + 2], before[p + 2]
        assert p != q and after == wanted and min(before[2:7]) > 0 and before[7] == 0
        assert changed(batch, row) == sorted([p + 2, q + 2])


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_batch_is_seeded_has_room_and_begins_with_certain_integers(name: str) -> None:
    task, sizes = task_of(name), set[int]()
    for seed in range(80):
        batch = task.at_length(Generator().manual_seed(seed), B, 7)
        again = task.at_length(Generator().manual_seed(seed), B, 7)
        tape = batch.state["tape"]
        sizes.add(tape.shape[1] - PROBLEMS[name].cells(7))
        assert tape.equal(again.state["tape"]) and batch.targets.equal(again.targets)
        assert tape.shape == (B, tape.shape[2], tape.shape[2])
        assert batch.targets.shape == (B, batch.inputs.shape[1], 2, tape.shape[1])
        assert (tape.sum(dim=2) == 1).all() and (batch.inputs == 1).all()
    assert sizes == set(range(9))
    assert isinstance(task, Judged) and isinstance(task, Queried) and isinstance(task, Undecided)
    with pytest.raises(ValueError, match="at least"):
        task.at_length(Generator(), B, PROBLEMS[name].smallest - 1)


def test_training_draws_mostly_what_is_a_little_harder_and_never_above_the_papers_size() -> None:
    task = task_of("increment")
    stage = cast(TapeTask, task.stages[3])
    assert [cast(TapeTask, one).difficulty for one in task.stages] == [*range(2, 15), 0]
    generator, steps = Generator().manual_seed(1), PROBLEMS["increment"].steps(0)
    sizes = [stage.sample(generator, 1).inputs.shape[1] - steps for _ in range(2000)]
    share = [sum(size == n for size in sizes) / 2000 for n in range(17)]
    # 65% D + e: half of it at D = 5, a quarter at 6; the others and U[1, D + e] below and above.
    assert 0.325 < share[5] < 0.42 and 0.16 < share[6] < 0.23
    assert 0.01 < sum(share[10:16]) < 0.1 and share[0] == share[16] == 0 and min(share[1:6]) > 0.02


def logits_of(willing: list[float], logs: list[list[float]], hits: list[list[int]]) -> Tensor:
    rows = [[f, 0.5, *log, *hit] for f, log, hit in zip(willing, logs, hits, strict=True)]
    return torch.tensor([rows])


def by_hand() -> tuple[Tensor, Batch]:
    """Two cells, the second to be changed; three steps of which the second is likeliest the end."""
    targets = torch.tensor([[[3, 1], [0, 1]]]).unsqueeze(1).expand(1, 3, 2, 2)
    logs = [[0.0, -2.0], [0.0, -1.0], [-4.0, 0.0]]
    logits = logits_of([0.25, 0.5, 0.1], logs, [[1, 0], [1, 1], [0, 1]])
    return logits, Batch(torch.ones(1, 3, 1), targets, torch.ones(1, 3, dtype=torch.bool))


def test_the_halt_takes_what_is_left_in_the_last_step() -> None:
    got = halting(torch.tensor([[0.25, 0.5, 0.1]]))
    torch.testing.assert_close(got, torch.tensor([[0.25, 0.375, 0.375]]))


def test_the_cost_is_expected_over_halts_and_errors_are_counted_where_it_halts() -> None:
    logits, batch = by_hand()
    task = task_of("access")
    cost = 0.25 * 2 + 0.375 * 1 + 0.375 * 4
    # The first cell, which shall stay, is wrong in the last step alone, and counts less.
    lost = 0.25 * 2 + 0.375 * 1 + 0.375 * 4 * ELSEWHERE
    assert task.loss(logits, batch).item() == pytest.approx(lost)
    measured = task.measures(logits, batch)
    assert measured.cross_entropy_bits.item() == pytest.approx(cost / math.log(2))
    assert measured.wrong_bits.item() == 0 and task.right(logits, batch).item() == 1
    logits[0, 1, 0] = 0.4  # now no step is willing enough, and the last counts
    assert task.measures(logits, batch).wrong_bits.item() == 1
    logits[0, 0, 0] = 0.6
    assert task.measures(logits, batch).wrong_bits.item() == 1
    assert task.right(logits, batch).item() == 0
    assert task.optimum_bits(batch).tolist() == [0]


def test_entropy_counts_the_choices_while_it_runs_and_when_it_halts() -> None:
    logits, _ = by_hand()
    when = -0.25 * math.log(0.25) - 2 * 0.375 * math.log(0.375)
    assert task_of("access").entropy(logits).item() == pytest.approx(0.5 + WHEN * when)


@pytest.mark.parametrize("name", PROBLEMS)
def test_gradients_reach_every_weight_and_are_finite(name: str) -> None:
    torch.manual_seed(1)
    task, network = task_of(name), NRAM(8, controller_size=9)
    batch = task.sample(Generator().manual_seed(1), B)
    state = first_state(cast(Any, network), batch)
    told = rollout(network.step, state, batch.inputs, view=judging(task, batch)).logits
    (task.loss(told, batch) - task.entropy(told)).backward()
    for weight in network.parameters():
        assert weight.grad is not None and weight.grad.isfinite().all() and weight.grad.any()


def test_what_is_judged_is_how_likely_each_cell_is_right() -> None:
    task = task_of("access")
    y = torch.tensor([[0.25, 0.5, 0.75]])
    tape = torch.tensor([[[0.5, 0.2, 0.3], [0.0, 1.0, 0.0], [0.25, 0.0, 0.75]]])
    state = NRAM(3).initial_state(1)._replace(tape=tape)
    got = task.judged(y, state, torch.tensor([[[2, 0, 0], [1, 0, 0]]]))
    logs = [math.log(0.3), math.log(1e-6), math.log(0.25)]
    torch.testing.assert_close(got, torch.tensor([[0.25, 0.75, *logs, 0.0, 0.0, 0.0]]))


def test_tapes_of_different_sizes_are_not_mixed() -> None:
    task = task_of("access")
    with pytest.raises(ValueError, match="mixed"):
        join([task.at_length(Generator().manual_seed(1), 1, size) for size in (2, 3)])
