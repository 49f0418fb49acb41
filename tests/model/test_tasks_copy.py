import math

import pytest
import torch
from torch import Generator

from model.tasks import Batch, make_task
from model.tasks.copy import Copy


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def test_a_tiny_batch_is_vectors_then_the_flag_then_silence() -> None:
    inputs, targets, mask = Copy(width=2).at_length(seeded(5), batch=3, length=4)
    bits = inputs[:, :4, :2]
    assert inputs.shape == (3, 9, 3) and targets.shape == (3, 9, 2) and mask.shape == (3, 9)
    assert set(bits.unique().tolist()) == {0.0, 1.0}
    assert inputs[:, :4, 2].eq(0).all()
    assert inputs[:, 4].eq(torch.tensor([0.0, 0.0, 1.0])).all()
    assert inputs[:, 5:].eq(0).all()
    assert targets[:, :5].eq(0).all() and targets[:, 5:].equal(bits)
    assert mask[:, :5].logical_not().all() and mask[:, 5:].all()


def test_bits_are_fair_and_lengths_cover_one_to_twenty() -> None:
    task, generator = Copy(), seeded(2)
    batches = [task.sample(generator, 7) for _ in range(400)]
    lengths = [(batch.inputs.shape[1] - 1) // 2 for batch in batches]
    assert set(lengths) == set(range(1, 21))
    bits = torch.cat([batch.targets[batch.mask].flatten() for batch in batches])
    assert abs(bits.mean().item() - 0.5) < 4 * 0.5 / math.sqrt(bits.numel())


def test_the_same_seed_gives_the_same_batches_and_another_seed_others() -> None:
    task = Copy()
    first, again, other = seeded(3), seeded(3), seeded(4)
    batches = [[task.sample(generator, 5) for _ in range(6)] for generator in (first, again, other)]
    same = [a.inputs.equal(b.inputs) for a, b in zip(batches[0], batches[1], strict=True)]
    apart = [a.inputs.equal(b.inputs) for a, b in zip(batches[0], batches[2], strict=True)]
    assert all(same) and not all(apart)


def test_the_data_of_seed_one_never_changes() -> None:
    batch = Copy().sample(seeded(1), 2)
    assert batch.inputs.shape == (2, 13, 9)
    assert batch.inputs[0, 0].tolist() == [1, 1, 0, 1, 0, 1, 0, 0, 0]


def test_a_length_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Copy().at_length(seeded(1), 3, 0)


def test_measures_equal_hand_worked_values() -> None:
    task = Copy(width=2)
    targets = torch.tensor([[[9.0, 9.0], [1.0, 0.0], [1.0, 1.0]]] * 2)
    mask = torch.tensor([[False, True, True], [False, True, False]])
    logits = torch.tensor([[[5.0, 5.0], [2.0, -1.0], [-3.0, 0.5]]] * 2)
    wrong, bits = task.measures(logits, Batch(torch.zeros(2, 3, 3), targets, mask))

    def cost(probability: float) -> float:
        return -math.log2(probability)

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    row = cost(sigmoid(2)) + cost(sigmoid(1))
    both = row + cost(sigmoid(-3)) + cost(sigmoid(0.5))
    assert wrong.tolist() == [1, 0]
    assert bits.tolist() == pytest.approx([both, row], rel=1e-6)


def test_an_undecided_output_costs_one_bit_a_bit() -> None:
    task = Copy()
    batch = task.at_length(seeded(1), 3, 5)
    measures = task.measures(torch.zeros(3, 11, 8), batch)
    assert measures.cross_entropy_bits.tolist() == pytest.approx([40.0] * 3)
    assert measures.wrong_bits.equal(batch.targets.sum(dim=(1, 2)))


def test_loss_is_the_mean_over_scored_bits_and_ignores_the_rest() -> None:
    task = Copy()
    batch = task.at_length(seeded(1), 3, 5)
    logits = torch.randn(3, 11, 8, generator=seeded(9), requires_grad=True)
    loss = task.loss(logits, batch)
    bits = task.measures(logits.detach(), batch).cross_entropy_bits
    assert loss.item() == pytest.approx(bits.sum().item() * math.log(2) / (3 * 5 * 8), rel=1e-5)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[:, :6].eq(0).all() and logits.grad[:, 6:].ne(0).all()


def test_tasks_are_made_by_name_and_state_their_form() -> None:
    task = make_task("copy")
    assert task.name == "copy"
    assert (task.input_size, task.output_size, task.activation) == (9, 8, "sigmoid")
    assert task.form == {"kind": "bits", "width": 8, "flags": ["delimiter"]}
    with pytest.raises(ValueError, match="one of copy, .*got 'paste'"):
        make_task("paste")
