import pytest
import torch
from torch import Generator

from model.tasks.priority_sort import PrioritySort, sort_rows


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def test_whole_rows_are_sorted_by_hand_worked_priorities() -> None:
    rows = torch.tensor([[[1.0, 0], [0, 1], [1, 1]], [[0, 0], [1, 0], [0, 1]]])
    priorities = torch.tensor([[-0.5, 0.9, 0.1], [0.3, 0.2, -1.0]])
    expected = [[[0, 1], [1, 1], [1, 0]], [[0, 0], [1, 0], [0, 1]]]
    assert sort_rows(rows, priorities).tolist() == expected


def test_rows_are_vectors_with_priorities_then_the_flag_then_silence() -> None:
    inputs, targets, mask = PrioritySort(width=6).at_length(seeded(1), 3, 10)
    assert inputs.shape == (3, 19, 8) and targets.shape == (3, 19, 6) and mask.shape == (3, 19)
    assert set(inputs[:, :10, :6].unique().tolist()) == {0.0, 1.0}
    assert inputs[:, :10, 6].eq(0).all() and inputs[:, 11:].eq(0).all()
    assert inputs[:, 10].eq(torch.tensor([0.0] * 6 + [1.0, 0.0])).all()
    assert targets[:, :11].eq(0).all() and not mask[:, :11].any() and mask[:, 11:].all()


def test_of_twenty_vectors_the_sixteen_of_highest_priority_come_highest_first() -> None:
    inputs, targets, mask = PrioritySort(width=12).sample(seeded(4), 30)
    assert mask.sum(dim=1).tolist() == [16] * 30
    for rows, answer, scored in zip(inputs, targets, mask, strict=True):
        items = sorted(rows[:20].tolist(), key=lambda row: -row[13])
        assert answer[scored].tolist() == [row[:12] for row in items[:16]]


def test_priorities_are_uniform_between_minus_one_and_one() -> None:
    priorities = PrioritySort().sample(seeded(2), 500).inputs[:, :20, 9]
    assert -1 <= priorities.min() < -0.99 and 0.99 < priorities.max() < 1
    assert abs(priorities.mean().item()) < 0.03
    assert priorities.var().item() == pytest.approx(1 / 3, abs=0.015)


def test_other_numbers_of_vectors_answer_four_fifths() -> None:
    task = PrioritySort()
    scored = [int(task.at_length(seeded(1), 2, n).mask[0].sum()) for n in (2, 5, 10, 21)]
    assert scored == [1, 4, 8, 16]
    assert [stage.train_lengths for stage in task.stages] == [(5, 5), (10, 10), (20, 20)]
    with pytest.raises(ValueError, match="items must be at least 2, got 1"):
        task.at_length(seeded(1), 2, 1)


def test_the_data_of_seed_one_never_changes() -> None:
    batch = PrioritySort().sample(seeded(1), 2)
    assert batch.inputs.shape == (2, 37, 10)
    assert batch.inputs[0, 0, :8].tolist() == [1, 1, 0, 1, 0, 1, 0, 0]
