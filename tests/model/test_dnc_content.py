"""Content addressing, through a mask or without, against a loop a slot."""

import pytest
import torch

from model.addressing import content_based_addressing
from model.dnc_content import FAINT, content_weights
from tests.model import slow_dnc as paper

B, K, N, M = 3, 2, 7, 5


def parts(seed: int = 1) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    key, memory = (torch.randn(B, n, M, generator=generator).double() for n in (K, N))
    beta = 1 + 3 * torch.rand(B, K, 1, generator=generator).double()
    return key, memory, beta, torch.rand(B, K, M, generator=generator).double()


def test_it_is_the_cosine_of_both_through_the_mask_slot_by_slot() -> None:
    key, memory, beta, mask = parts()
    got = content_weights(key, memory, beta, mask)
    assert got.shape == (B, K, N)
    for b in range(B):
        for k in range(K):
            numbers = key[b, k].tolist(), memory[b].tolist(), beta[b, k].item()
            assert got[b, k].tolist() == pytest.approx(paper.content(*numbers, mask[b, k].tolist()))


def test_a_mask_of_ones_changes_nothing() -> None:
    key, memory, beta, mask = parts()
    plain = content_weights(key, memory, beta)
    torch.testing.assert_close(content_weights(key, memory, beta, torch.ones_like(mask)), plain)


def test_of_words_that_are_not_faint_it_is_the_papers_cosine() -> None:
    key, memory, beta, _ = parts()
    long = memory * 1e3
    paper_weights = content_based_addressing(key, long, beta)
    torch.testing.assert_close(content_weights(key, long, beta), paper_weights, rtol=1e-6, atol=0)


def test_what_rounding_wrote_into_an_empty_slot_is_not_looked_at() -> None:
    key, memory, beta, _ = parts()
    memory[:, 3:] = 1e-6
    noisy = memory.clone()
    noisy[:, 3:] += 1e-7 * torch.randn(B, N - 3, M, generator=torch.Generator().manual_seed(2))
    before, after = (content_weights(key, held, 9 * beta) for held in (memory, noisy))
    assert FAINT > 1e-3 and (before - after).abs().max() < 1e-4
    bare = [content_based_addressing(key, held, 9 * beta) for held in (memory, noisy)]
    assert (bare[0] - bare[1]).abs().max() > 1e-3


def test_what_the_mask_hides_has_no_part_in_it() -> None:
    key, memory, beta, mask = parts()
    mask[:, :, 2] = 0
    changed = memory.clone()
    changed[:, :, 2] = 9.0
    before = content_weights(key, memory, beta, mask)
    torch.testing.assert_close(content_weights(key, changed, beta, mask), before)


def test_an_empty_memory_and_an_empty_key_have_finite_weights_and_gradients() -> None:
    tensors = [part.float() for part in parts()]
    tensors[0].zero_()
    tensors[1].zero_()
    tensors = [part.requires_grad_() for part in tensors]
    got = content_weights(*tensors)
    torch.testing.assert_close(got, torch.full((B, K, N), 1 / N))
    got.square().sum().backward()
    assert all(part.grad is not None and part.grad.isfinite().all() for part in tensors)


def test_it_passes_gradcheck() -> None:
    assert torch.autograd.gradcheck(content_weights, [part.requires_grad_() for part in parts()])
