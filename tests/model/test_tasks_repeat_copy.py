import math

import pytest
import torch
from torch import Generator

from model.tasks import make_task
from model.tasks.repeat_copy import RepeatCopy


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def test_a_tiny_batch_is_vectors_the_request_then_copies_and_the_end() -> None:
    inputs, targets, mask = RepeatCopy(width=4).of_size(seeded(5), 3, vectors=2, repeats=5)
    bits = inputs[:, :2, :4]
    assert inputs.shape == (3, 14, 6) and targets.shape == (3, 14, 5) and mask.shape == (3, 14)
    assert set(bits.unique().tolist()) == {0.0, 1.0} and inputs[:, :2, 4:].eq(0).all()
    request = [0, 0, 0, 0, 1, -0.5 / math.sqrt(8.25)]
    assert inputs[:, 2].tolist() == [pytest.approx(request)] * 3 and inputs[:, 3:].eq(0).all()
    assert mask[:, :3].logical_not().all() and mask[:, 3:].all() and targets[:, :3].eq(0).all()
    for copy in range(5):
        assert targets[:, 3 + 2 * copy : 5 + 2 * copy, :4].equal(bits)
    assert targets[:, :13, 4].eq(0).all()
    assert targets[:, 13].eq(torch.tensor([0.0, 0, 0, 0, 1])).all()


def test_the_repeat_channel_has_mean_zero_and_variance_one_over_training() -> None:
    task = RepeatCopy()
    values = torch.cat(
        [task.of_size(seeded(1), 2, 3, repeats).inputs[0, 3, 9:] for repeats in range(1, 11)]
    )
    assert values.mean().item() == pytest.approx(0, abs=1e-6)
    assert values.var(correction=0).item() == pytest.approx(1)
    assert RepeatCopy(max_repeats=3).of_size(seeded(1), 2, 3, 2).inputs[0, 3, 9] == values[1]


def test_sizes_of_training_cover_one_to_ten_of_both() -> None:
    task, generator = RepeatCopy(), seeded(2)
    sizes: set[tuple[int, int]] = set()
    for _ in range(1500):
        batch = task.sample(generator, 2)
        vectors = int(batch.inputs[0, :, 8].argmax())
        sizes.add((vectors, (batch.inputs.shape[1] - 2) // vectors - 1))
    assert sizes == {(vectors, repeats) for vectors in range(1, 11) for repeats in range(1, 11)}


def test_a_length_counts_repeats_or_vectors() -> None:
    repeats, vectors = make_task("repeat-copy"), make_task("repeat-copy", "vectors")
    assert repeats.at_length(seeded(1), 2, 3).inputs.shape[1] == 10 * 4 + 2
    assert vectors.at_length(seeded(1), 2, 3).inputs.shape[1] == 3 * 11 + 2
    assert (repeats.unit, vectors.unit) == ("repeats", "vectors")
    assert RepeatCopy(max_vectors=4, unit="vectors").train_lengths == (1, 4)
    with pytest.raises(ValueError, match="one of repeats, vectors, got 'bits'"):
        make_task("repeat-copy", "bits")


def test_stages_grow_in_both_sizes() -> None:
    stages = RepeatCopy(max_vectors=6, max_repeats=9).stages
    assert [(s.max_vectors, s.max_repeats) for s in stages] == [(2, 3), (4, 6), (6, 9)]  # pyright: ignore


@pytest.mark.parametrize("size", [(0, 2), (2, 0)])
def test_sizes_below_one_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="vectors and repeats must be at least 1"):
        RepeatCopy().of_size(seeded(1), 2, *size)


def test_the_end_marker_counts_among_the_wrong_bits() -> None:
    task = RepeatCopy(width=2)
    batch = task.of_size(seeded(1), 3, vectors=2, repeats=1)
    perfect = (2 * batch.targets - 1) * 9
    assert task.measures(perfect, batch).wrong_bits.tolist() == [0, 0, 0]
    early = perfect.clone()
    early[1, 4, 2], early[2, 5, 2] = 9, -9  # an end too early, and one that never comes
    assert task.measures(early, batch).wrong_bits.tolist() == [0, 1, 1]


def test_the_data_of_seed_one_never_changes() -> None:
    batch = RepeatCopy().sample(seeded(1), 2)
    assert batch.inputs.shape == (2, 68, 10)
    assert batch.inputs[0, 0].tolist() == [1, 0, 1, 0, 1, 0, 0, 1, 0, 0]
