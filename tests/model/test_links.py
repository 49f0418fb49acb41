"""Links, precedence and what follows from them, against a loop a slot."""

import pytest
import torch
from torch import Tensor

from model.links import follow, sharpen_links, update_link, update_precedence
from tests.model import slow_dnc as slow

B, N, R, T = 3, 7, 2, 9


def weights(*shape: int, seed: int = 1) -> Tensor:
    """>= 0, summing to less than 1 over the last axis, differently in each row."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(*shape, generator=generator, dtype=torch.float64)
    total = torch.rand(*shape[:-1], 1, generator=generator, dtype=torch.float64)
    return drawn / drawn.sum(dim=-1, keepdim=True) * total


def lived_in() -> tuple[Tensor, Tensor]:
    """Links and precedence after some writes."""
    link, precedence = torch.zeros(B, N, N).double(), torch.zeros(B, N).double()
    for row in range(T):
        written = weights(B, N, seed=row)
        link = update_link(link, written, precedence)
        precedence = update_precedence(precedence, written)
    return link, precedence


def test_links_and_precedence_are_the_papers_slot_by_slot() -> None:
    link, precedence = lived_in()
    written = weights(B, N, seed=50)
    after, last = update_link(link, written, precedence), update_precedence(precedence, written)
    for b in range(B):
        numbers = (link[b].tolist(), written[b].tolist(), precedence[b].tolist())
        for got, wanted in zip(after[b].tolist(), slow.link(*numbers), strict=True):
            assert got == pytest.approx(wanted)
        assert last[b].tolist() == pytest.approx(slow.precedence(numbers[2], numbers[1]))


def test_links_sum_to_at_most_1_along_rows_and_columns_and_no_slot_follows_itself() -> None:
    link, precedence = lived_in()
    assert (link >= 0).all() and (link.sum(dim=1) <= 1).all() and (link.sum(dim=2) <= 1).all()
    assert link.diagonal(dim1=1, dim2=2).eq(0).all()
    assert (precedence >= 0).all() and (precedence.sum(dim=1) <= 1).all()


def test_the_diagonal_is_cleared_whatever_it_was() -> None:
    full = update_link(torch.ones(B, N, N), torch.zeros(B, N), torch.zeros(B, N))
    assert full.equal((1 - torch.eye(N)).expand(B, -1, -1))


def test_forward_goes_the_way_that_was_written_and_backward_the_other() -> None:
    link, precedence = torch.zeros(1, N, N), torch.zeros(1, N)
    for slot in (4, 1, 6):
        written = torch.eye(N)[slot].unsqueeze(0)
        link = update_link(link, written, precedence)
        precedence = update_precedence(precedence, written)
    assert precedence.argmax().item() == 6
    backward, forward = follow(link, torch.eye(N)[1].view(1, 1, N))
    assert backward[0, 0].equal(torch.eye(N)[4]) and forward[0, 0].equal(torch.eye(N)[6])


def test_following_is_the_papers_slot_by_slot_and_sums_to_at_most_1() -> None:
    link, reads = lived_in()[0], weights(B, R, N, seed=60)
    backward, forward = follow(link, reads)
    assert backward.shape == forward.shape == (B, R, N)
    for b in range(B):
        for r in range(R):
            before, after = slow.follow(link[b].tolist(), reads[b, r].tolist())
            assert backward[b, r].tolist() == pytest.approx(before)
            assert forward[b, r].tolist() == pytest.approx(after)
    assert (backward.sum(dim=2) <= 1).all() and (forward.sum(dim=2) <= 1).all()


def test_sharpening_is_the_quotient_of_powers() -> None:
    blurred, sharpness = weights(B, R, N), 1 + 4 * torch.rand(B, R, 1).double()
    got = sharpen_links(blurred, sharpness)
    for b in range(B):
        for r in range(R):
            wanted = slow.sharpen(blurred[b, r].tolist(), sharpness[b, r].item())
            assert got[b, r].tolist() == pytest.approx(wanted)


@pytest.mark.parametrize("sharpness", [1.0, 3.0, 1e30])
def test_sharpening_nothing_gives_nothing_and_is_finite(sharpness: float) -> None:
    nothing = torch.zeros(B, R, N, requires_grad=True)
    power = torch.full((B, R, 1), sharpness, requires_grad=True)
    got = sharpen_links(nothing, power)
    assert got.eq(0).all()
    got.sum().backward()
    assert nothing.grad is not None and nothing.grad.isfinite().all()
    assert power.grad is not None and power.grad.isfinite().all()
    one = torch.eye(N)[2].expand(B, R, -1)
    torch.testing.assert_close(sharpen_links(one, power.detach()), one)


def test_gradients_pass_gradcheck() -> None:
    link, precedence = lived_in()
    written, reads = weights(B, N, seed=70), weights(B, R, N, seed=71)
    parts = [part.requires_grad_() for part in (link, written, precedence)]
    assert torch.autograd.gradcheck(update_link, parts)
    assert torch.autograd.gradcheck(update_precedence, (parts[2], parts[1]))
    assert torch.autograd.gradcheck(follow, (parts[0], reads.requires_grad_()))
    power = 1 + torch.rand(B, R, 1).double()
    assert torch.autograd.gradcheck(sharpen_links, (reads, power.requires_grad_()))
