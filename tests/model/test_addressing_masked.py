"""Content addressing through a mask."""

import pytest
import torch

from model.addressing import content_based_addressing, masked_addressing
from tests.model import slow_dnc as paper

B, K, N, M = 3, 2, 7, 5


def parts(seed: int = 1) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    key, memory = (torch.randn(B, n, M, generator=generator).double() for n in (K, N))
    beta = 1 + 3 * torch.rand(B, K, 1, generator=generator).double()
    return key, memory, beta, torch.rand(B, K, M, generator=generator).double()


def test_it_is_the_cosine_of_both_through_the_mask_slot_by_slot() -> None:
    key, memory, beta, mask = parts()
    got = masked_addressing(key, memory, beta, mask)
    assert got.shape == (B, K, N)
    for b in range(B):
        for k in range(K):
            numbers = key[b, k].tolist(), memory[b].tolist(), beta[b, k].item()
            assert got[b, k].tolist() == pytest.approx(paper.content(*numbers, mask[b, k].tolist()))


def test_a_mask_of_ones_changes_nothing() -> None:
    key, memory, beta, mask = parts()
    torch.testing.assert_close(
        masked_addressing(key, memory, beta, torch.ones_like(mask)),
        content_based_addressing(key, memory, beta),
        rtol=1e-6,
        atol=1e-9,
    )


def test_what_the_mask_hides_has_no_part_in_it() -> None:
    key, memory, beta, mask = parts()
    mask[:, :, 2] = 0
    changed = memory.clone()
    changed[:, :, 2] = 9.0
    before = masked_addressing(key, memory, beta, mask)
    torch.testing.assert_close(masked_addressing(key, changed, beta, mask), before)


def test_an_empty_memory_and_an_empty_key_have_finite_weights_and_gradients() -> None:
    tensors = [part.float() for part in parts()]
    tensors[0].zero_()
    tensors[1].zero_()
    tensors = [part.requires_grad_() for part in tensors]
    got = masked_addressing(*tensors)
    torch.testing.assert_close(got, torch.full((B, K, N), 1 / N))
    got.square().sum().backward()
    assert all(part.grad is not None and part.grad.isfinite().all() for part in tensors)


def test_it_passes_gradcheck() -> None:
    assert torch.autograd.gradcheck(masked_addressing, [part.requires_grad_() for part in parts()])
