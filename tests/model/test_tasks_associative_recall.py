import math

import pytest
import torch
from torch import Generator, Tensor

from model.tasks.associative_recall import AssociativeRecall


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def answer_of(rows: Tensor, width: int, vectors: int) -> Tensor:
    """The answer to one sequence's rows (T, X), found by reading them one after the other."""
    items: list[list[Tensor]] = []
    query: list[Tensor] = []
    flags = 0
    for row in rows:
        flags += int(row[width + 1])
        if row[width]:
            items.append([])
        elif flags == 1 and not row[width + 1]:
            query.append(row[:width])
        elif flags == 0:
            items[-1].append(row[:width])
    whole = [torch.stack(item) for item in items]
    (place,) = [n for n, item in enumerate(whole) if item.equal(torch.stack(query))]
    assert len(query) == vectors and flags == 2
    return whole[place + 1]


def test_rows_are_items_then_the_query_between_flags_then_silence() -> None:
    inputs, targets, mask = AssociativeRecall(width=4, vectors=2).at_length(seeded(1), 5, 3)
    assert inputs.shape == (5, 15, 6) and targets.shape == (5, 15, 4) and mask.shape == (5, 15)
    flags = inputs[:, :, 4:].nonzero()[:, 1:].unique(dim=0).tolist()
    assert flags == [[0, 0], [3, 0], [6, 0], [9, 1], [12, 1]]
    assert inputs[:, [0, 3, 6, 9, 12], :4].eq(0).all() and inputs[:, 13:].eq(0).all()
    assert mask.nonzero()[:, 1].unique().tolist() == [13, 14] and targets[:, :13].eq(0).all()


@pytest.mark.parametrize("items", [2, 3, 7])
def test_the_target_is_what_a_reader_of_the_rows_finds(items: int) -> None:
    task = AssociativeRecall(width=9, vectors=3)
    inputs, targets, mask = task.at_length(seeded(items), 40, items)
    for rows, target, scored in zip(inputs, targets, mask, strict=True):
        assert target[scored].equal(answer_of(rows, 9, 3))


def test_every_item_but_the_last_is_asked_for() -> None:
    task = AssociativeRecall()
    inputs = task.at_length(seeded(3), 400, 5).inputs.unflatten(1, (7, 4))[:, :, 1:]
    same = (inputs[:, :5] == inputs[:, 5:6]).all(dim=(2, 3))
    counts = same.sum(dim=0)
    assert counts[4] == 0 and counts[:4].min() > 100 - 4 * math.sqrt(400 * 0.25 * 0.75)


def test_items_of_training_are_two_to_six_and_fewer_than_two_are_refused() -> None:
    task, generator = AssociativeRecall(), seeded(2)
    rows = {task.sample(generator, 3).inputs.shape[1] for _ in range(200)}
    assert rows == {4 * (items + 2) for items in (2, 3, 4, 5, 6)}
    with pytest.raises(ValueError, match="items must be at least 2, got 1"):
        task.at_length(generator, 3, 1)


def test_stages_grow_from_two_items_to_all() -> None:
    assert [task.train_lengths for task in AssociativeRecall().stages] == [(2, 2), (2, 4), (2, 6)]


def test_the_data_of_seed_one_never_changes() -> None:
    batch = AssociativeRecall().sample(seeded(1), 2)
    assert batch.inputs.shape == (2, 16, 8)
    assert batch.inputs[0, 1].tolist() == [1, 1, 0, 1, 0, 1, 0, 0]
