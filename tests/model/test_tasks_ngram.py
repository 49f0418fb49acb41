import math

import pytest
import torch
from torch import Generator
from torch.distributions import Bernoulli

from model.tasks.ngram import NGram, draw_bits, estimate


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def slow_cost(bits: list[int], context: int) -> float:
    """What the optimal estimator pays for one sequence, a dictionary of counts at a time."""
    counts: dict[tuple[int, ...], list[int]] = {}
    cost = float(context)
    for place in range(context, len(bits)):
        seen = counts.setdefault(tuple(bits[place - context : place]), [0, 0])
        one = (seen[1] + 0.5) / (seen[0] + seen[1] + 1)
        cost -= math.log2(one if bits[place] else 1 - one)
        seen[bits[place]] += 1
    return cost


def test_a_row_shows_the_bit_before_and_asks_for_the_next() -> None:
    inputs, targets, mask = NGram(order=3, bits=9).sample(seeded(1), 4)
    assert inputs.shape == targets.shape == (4, 9, 1) and mask.shape == (4, 9) and mask.all()
    assert inputs[:, 0].eq(0).all() and inputs[:, 1:].equal(targets[:, :-1])
    assert set(targets.unique().tolist()) == {0.0, 1.0}


def test_bits_follow_the_table() -> None:
    # 1 after an odd number of ones among the last two, else 0; drawn by hand.
    table = torch.tensor([[0.0, 1.0, 1.0, 0.0]] * 2)
    draws = torch.tensor([[0.9, 0.1, *[0.5] * 5], [0.2, 0.3, *[0.5] * 5]])
    assert draw_bits(table, draws, 2).tolist() == [[0, 1, 1, 0, 1, 1, 0], [1, 1, 0, 1, 1, 0, 1]]


def test_the_oldest_bit_of_a_context_is_its_highest() -> None:
    table = torch.tensor([[0.0, 0.0, 1.0, 0.0]])  # a 1 only after (1, 0)
    bits = draw_bits(table, torch.tensor([[0.4, 0.7, 0.5, 0.5, 0.5]]), 2)
    assert bits.tolist() == [[1, 0, 1, 0, 1]]


def test_table_entries_are_beta_one_half() -> None:
    # The bits after the context 1 of one sequence: their share of ones is the table's entry,
    # with mean 1/2 and variance 1/8 + E[p (1 - p)] / n = 1/8 + 1 / (8 n).
    draws = torch.rand(3000, 200, generator=seeded(4))
    uniform = torch.rand(3000, 2, generator=seeded(3))
    table = torch.sin(uniform * (math.pi / 2)).square()
    assert table.mean().item() == pytest.approx(1 / 2, abs=4 * math.sqrt(1 / 8 / 6000))
    assert table.var().item() == pytest.approx(1 / 8, abs=0.005)
    same = table.clone()
    same[:, 0] = same[:, 1]
    shares = draw_bits(same, draws, 1)[:, 1:].mean(dim=1)
    assert shares.var().item() == pytest.approx(1 / 8 + 1 / (8 * 199), abs=0.007)


def test_the_estimator_equals_one_that_counts_in_a_loop() -> None:
    task = NGram(order=4, bits=70)
    batch = task.sample(seeded(5), 6)
    slow = [slow_cost([int(bit) for bit in row], 3) for row in batch.targets[:, :, 0]]
    assert task.optimum_bits(batch).tolist() == pytest.approx(slow, rel=1e-5)


def test_the_estimator_equals_hand_worked_values() -> None:
    # Contexts of one bit: 0->1 (1/2), 1->1 (1/2), 1->1 (3/4), 1->0 (1 - 5/6), 0->1 (3/4)
    bits = torch.tensor([[0.0, 1, 1, 1, 0, 1]])
    expected = [1 / 2, 1 / 2, 3 / 4, 1 / 6, 3 / 4]
    assert estimate(bits, 1)[0].tolist() == pytest.approx(expected)


def test_the_optimum_over_all_two_hundred_bits_is_that_of_the_paper() -> None:
    task = NGram()
    costs = task.optimum_bits(task.sample(seeded(1), 2000))
    assert abs(costs.mean().item() - 132.98) < 4 * 36 / math.sqrt(2000)


def test_the_table_itself_predicts_better_and_a_coin_worse_than_the_optimum() -> None:
    table = torch.sin(torch.rand(800, 32, generator=seeded(1)) * (math.pi / 2)).square()
    bits = draw_bits(table, torch.rand(800, 200, generator=seeded(2)), 5)
    learned = -torch.log2(estimate(bits, 5)).sum(dim=1).mean().item()
    entropy = Bernoulli(table).entropy().mean().item() / math.log(2)
    assert 195 * entropy + 10 < learned < 195 - 30


def test_fewer_bits_than_the_order_are_refused() -> None:
    with pytest.raises(ValueError, match="bits must be at least 6, got 5"):
        NGram().at_length(seeded(1), 2, 5)


def test_the_data_of_seed_one_never_changes() -> None:
    targets = NGram().sample(seeded(1), 2).targets[0, :12, 0]
    assert targets.tolist() == [1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0, 1]


def test_stages_grow_in_the_bits_that_count() -> None:
    assert [getattr(stage, "order") for stage in NGram(order=4).stages] == [2, 3, 4]  # noqa: B009
