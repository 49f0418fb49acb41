"""Least recently used access against a loop a slot."""

import pytest
import torch
from torch import Tensor

from model.lrua import GRAIN, least_used, order_of, update_usage, write, write_weights
from model.usage import order_margin
from tests.model import slow_mann as paper

B, N, M, R = 3, 7, 5, 2


def uniform(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def slots_of(usage: Tensor, count: int) -> Tensor:
    return least_used(order_of(usage, order_margin(usage.shape[1])), count)


def test_usage_decays_and_takes_every_heads_reads_and_writes() -> None:
    before, reads, writes = 4 * uniform(B, N), uniform(B, R, N, seed=2), uniform(B, R, N, seed=3)
    after = update_usage(before, reads, writes, 0.95)
    assert after.shape == (B, N)
    for b in range(B):
        wanted = paper.usage(before[b].tolist(), reads[b].tolist(), writes[b].tolist(), 0.95)
        assert after[b].tolist() == pytest.approx(wanted)


@pytest.mark.parametrize("count", [1, 2, 6, 7])
def test_the_least_used_slots_are_those_up_to_the_nth_smallest_usage(count: int) -> None:
    # Every usage a few grains from every other, in an order of its own in each row.
    apart = torch.linspace(0, 9, N, dtype=torch.float64)
    usage = torch.stack([apart[uniform(N, seed=seed).argsort()] for seed in range(20)])
    for row, got in zip(usage.tolist(), slots_of(usage.float(), count).tolist(), strict=True):
        assert got == paper.least_used(row, count)


@pytest.mark.parametrize("count", [1, 3])
def test_exactly_n_slots_are_least_used_where_usages_tie_the_first_by_index(count: int) -> None:
    grains = torch.randint(0, 3, (40, N), generator=torch.Generator().manual_seed(1))
    usage = grains * GRAIN + (uniform(40, N) - 0.5) * GRAIN * 0.9
    got = slots_of(usage, count)
    assert (got.sum(dim=1) == count).all()
    for row, slots in zip(usage.tolist(), got.tolist(), strict=True):
        assert slots == paper.first_of(row, count, GRAIN)
    assert slots_of(torch.zeros(1, N), count)[0].tolist() == [1.0] * count + [0.0] * (N - count)


def test_the_last_bit_of_a_usage_does_not_decide_which_slot_is_written_next() -> None:
    usage = torch.full((1, N), 1.3)
    for slot in range(N):
        nudged = usage.clone()
        nudged[0, slot] = torch.nextafter(usage[0, slot], torch.tensor(0.0))
        assert torch.equal(slots_of(nudged, 1), slots_of(usage, 1))


def test_a_head_writes_where_it_has_read_or_to_the_least_used_slots_by_its_gate() -> None:
    gate, read = uniform(B, R, 1), uniform(B, R, N, seed=2)
    least = slots_of(uniform(B, N, seed=3), R)
    got = write_weights(gate, read, least)
    assert got.shape == (B, R, N)
    for b in range(B):
        for r in range(R):
            had, free = read[b, r].tolist(), least[b].tolist()
            wanted = paper.write_weights(float(gate[b, r, 0]), had, free)
            assert got[b, r].tolist() == pytest.approx(wanted)


def test_the_least_used_slot_is_wiped_before_the_heads_add_to_the_memory() -> None:
    memory, weights = uniform(B, N, M) - 0.5, uniform(B, R, N, seed=2)
    added, wiped = uniform(B, R, M, seed=3) - 0.5, slots_of(uniform(B, N, seed=4), 1)
    got = write(memory, weights, added, wiped)
    assert got.shape == (B, N, M)
    for b in range(B):
        parts = (part[b].tolist() for part in (memory, weights, added, wiped))
        assert got[b].flatten().tolist() == pytest.approx(sum(paper.write(*parts), []))


def test_the_operations_pass_gradcheck() -> None:
    memory, weights, added = uniform(B, N, M), uniform(B, R, N, seed=2), uniform(B, R, M, seed=3)
    gate, usage = uniform(B, R, 1, seed=4), uniform(B, N, seed=5)
    least = slots_of(usage, R)

    def written(memory: Tensor, gate: Tensor, read: Tensor, added: Tensor) -> Tensor:
        return write(memory, write_weights(gate, read, least), added, slots_of(usage, 1))

    inputs = [part.requires_grad_() for part in (memory, gate, weights, added)]
    assert torch.autograd.gradcheck(written, inputs)
    pair = [usage.requires_grad_(), uniform(B, R, N, seed=6).requires_grad_()]
    assert torch.autograd.gradcheck(lambda u, w: update_usage(u, w, w * 2, 0.9), pair)
    assert not order_of(usage, order_margin(N)).requires_grad
