"""Usage, retention and allocation against a loop a slot."""

import pytest
import torch
from torch import Tensor

from model.usage import FLOOR, GRAIN, allocation, order_margin, retention, update_usage
from tests.model import slow_dnc as slow

B, N, R = 3, 7, 2


def uniform(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def expected(usage: Tensor, grain: float | None = None) -> Tensor:
    return torch.tensor([slow.allocation(row.tolist(), grain) for row in usage]).to(usage)


def test_retention_and_usage_are_the_papers_slot_by_slot() -> None:
    free, reads = uniform(B, R, 1), uniform(B, R, N, seed=2) / N
    before, written = uniform(B, N, seed=3), uniform(B, N, seed=4) / N
    kept = retention(free, reads)
    after = update_usage(before, written, kept)
    assert kept.shape == after.shape == (B, N)
    for b in range(B):
        wanted = slow.retention(free[b, :, 0].tolist(), reads[b].tolist())
        assert kept[b].tolist() == pytest.approx(wanted)
        wanted = slow.usage(before[b].tolist(), written[b].tolist(), wanted)
        assert after[b].tolist() == pytest.approx(wanted)


def test_usage_stays_between_0_and_1_whatever_came() -> None:
    low, high = torch.full((B, N), -3.0), torch.full((B, N), 1 + 1e-6)
    one = torch.ones(B, N)
    for usage in (low, high):
        after = update_usage(usage, one / 2, one)
        assert (after >= 0).all() and (after <= 1).all()


def test_a_slot_written_in_full_is_used_and_one_read_with_an_open_gate_is_free() -> None:
    before, written = torch.tensor([[0.0, 0.5, 1.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    kept = retention(torch.ones(1, 1, 1), torch.tensor([[[0.0, 0.0, 1.0]]]))
    assert update_usage(before, written, kept).tolist() == [[1.0, 0.5, 0.0]]


@pytest.mark.parametrize("slots", [2, 7, 33])
def test_allocation_is_the_papers_sort_and_product_within_1e5(slots: int) -> None:
    # Every usage a few grains from every other, in an order of its own in each row.
    apart = torch.linspace(0.02, 0.98, slots, dtype=torch.float64)
    usage = torch.stack([apart[uniform(slots, seed=seed).argsort()] for seed in range(20)])
    got = allocation(usage.float())
    torch.testing.assert_close(got.double(), expected(usage), rtol=0, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1e-9, 0.3, 1.0])
def test_slots_that_tie_come_in_the_order_of_their_index(value: float) -> None:
    usage = torch.full((1, N), value, dtype=torch.float64)
    torch.testing.assert_close(allocation(usage), expected(usage), rtol=0, atol=1e-5)
    assert allocation(usage)[0, 0].item() == pytest.approx(1 - value)


def test_ties_and_zeros_among_others_are_the_papers() -> None:
    # Multiples of 1/16: every value comes several times, 0 and 1 among them.
    usage = (uniform(200, 9, seed=5) * 16).round() / 16
    torch.testing.assert_close(
        allocation(usage.float()).double(), expected(usage), rtol=0, atol=1e-5
    )


def test_any_usage_is_allocated_in_the_order_of_its_grain() -> None:
    usage = uniform(200, 12, seed=6)
    torch.testing.assert_close(allocation(usage), expected(usage, GRAIN), rtol=0, atol=1e-5)


def test_rounding_does_not_decide_between_slots_that_are_alike() -> None:
    usage = torch.full((1, N), 0.3)
    noisy = usage * (1 + 1e-6 * torch.randn(1, N, generator=torch.Generator().manual_seed(1)))
    assert not noisy.equal(usage)
    torch.testing.assert_close(allocation(noisy), allocation(usage), rtol=0, atol=1e-5)


def test_allocation_is_at_least_0_and_sums_to_at_most_1() -> None:
    usage = torch.cat([uniform(50, N), uniform(50, N) ** 9, 1 - uniform(50, N) ** 9])
    got = allocation(usage)
    assert (got >= 0).all() and (got.sum(dim=1) <= 1 + FLOOR * N).all()
    assert allocation(torch.ones(1, N)).tolist() == [[0.0] * N]


def test_of_each_pair_of_slots_exactly_one_comes_first() -> None:
    margin = order_margin(N)
    rank = (uniform(B, N) * 4).round()
    before = rank.unsqueeze(2) - rank.unsqueeze(1) >= margin
    each = before.long() + before.transpose(1, 2).long()
    assert each.equal((1 - torch.eye(N, dtype=torch.long)).expand(B, -1, -1))


def test_gradients_are_those_of_the_equations_for_a_fixed_order() -> None:
    apart = torch.linspace(0.1, 0.9, N, dtype=torch.float64)
    usage = torch.stack([apart[uniform(N, seed=seed).argsort()] for seed in range(B)])
    assert torch.autograd.gradcheck(allocation, usage.requires_grad_())
    free, reads = uniform(B, R, 1).requires_grad_(), (uniform(B, R, N) / N).requires_grad_()
    assert torch.autograd.gradcheck(retention, (free, reads))
    parts = [(uniform(B, N, seed=seed) / 2).requires_grad_() for seed in (1, 2, 3)]
    assert torch.autograd.gradcheck(update_usage, parts)


def test_an_unused_slot_has_the_gradient_of_the_product_without_it() -> None:
    usage = torch.tensor([[0.0, 0.5]], dtype=torch.float64, requires_grad=True)
    allocation(usage)[0, 1].backward()
    assert usage.grad is not None  # a = (1 - 0.5) u_0
    assert usage.grad[0].tolist() == pytest.approx([0.5, 0.0], abs=1e-5)
