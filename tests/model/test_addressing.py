"""Addressing, equation by equation: hand-worked cases and slow references."""

import math

import pytest
import torch
from torch import Tensor

from model.addressing import (
    AddressingSystem,
    circular_shift,
    content_based_addressing,
    cosine_similarity,
    interpolate,
    location_based_addressing,
    sharpen,
)
from tests.model import slow
from tests.model.machines import weights_like

B, K, N, M, S = 4, 2, 7, 5, 3


def close(got: Tensor, wanted: list) -> None:
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=got.dtype), atol=1e-6, rtol=1e-5)


def test_cosine_of_worked_vectors():
    key = torch.tensor([[[3.0, 4.0]]])
    memory = torch.tensor([[[6.0, 8.0], [-3.0, -4.0], [4.0, -3.0], [1.0, 0.0]]])
    close(cosine_similarity(key, memory), [[[1.0, -1.0, 0.0, 0.6]]])


def test_cosine_with_a_zero_key_or_slot_is_zero():
    memory = torch.randn(B, N, M)
    memory[:, 4] = 0
    assert (cosine_similarity(torch.zeros(B, K, M), memory) == 0).all()
    assert (cosine_similarity(torch.randn(B, K, M), memory)[:, :, 4] == 0).all()


def test_content_weights_of_a_worked_case():
    # Cosines 1 and 0, so the strength ln 4 gives the odds 4 : 1.
    key, memory = torch.tensor([[2.0, 0.0]]), torch.tensor([[[5.0, 0.0], [0.0, 5.0]]])
    close(content_based_addressing(key, memory, torch.tensor([[math.log(4)]])), [[0.8, 0.2]])


def test_content_weights_match_the_loop():
    torch.manual_seed(0)
    key, memory, beta = torch.randn(B, K, M), torch.randn(B, N, M), 3 * torch.rand(B, K, 1)
    wanted = [
        [slow.content(key[b, k].tolist(), memory[b].tolist(), beta[b, k].item()) for k in range(K)]
        for b in range(B)
    ]
    got = content_based_addressing(key, memory, beta)
    assert got.shape == (B, K, N)
    close(got, wanted)


def test_one_head_may_leave_out_its_axis():
    key, memory, beta = torch.randn(B, 1, M), torch.randn(B, N, M), torch.rand(B, 1, 1)
    got = content_based_addressing(key[:, 0], memory, beta[:, 0])
    assert got.shape == (B, N)
    assert torch.equal(got, content_based_addressing(key, memory, beta)[:, 0])


@pytest.mark.parametrize(
    ("key", "memory", "beta"),
    [((B, M), (B, N, M), (B,)), ((M,), (N, M), (1,)), ((B, K, M), (B, N, M), (B, K))],
)
def test_content_refuses_axes_that_would_broadcast_wrongly(key, memory, beta):
    with pytest.raises(ValueError, match=r"expected key \(B, K, M\).*got"):
        content_based_addressing(torch.ones(key), torch.ones(memory), torch.ones(beta))


def test_interpolation_of_a_worked_case():
    new, old = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.5, 0.5]])
    close(interpolate(new, old, torch.tensor([[0.25]])), [[0.25, 0.375, 0.375]])


def test_an_open_gate_takes_the_content_and_a_shut_one_keeps_the_last_weights():
    new, old = weights_like(B, K, N), weights_like(B, K, N)
    assert torch.equal(interpolate(new, old, torch.ones(B, K, 1)), new)
    assert torch.equal(interpolate(new, old, torch.zeros(B, K, 1)), old)


@pytest.mark.parametrize(
    ("start", "s", "end"),
    [
        (2, [0, 0, 1], 3),
        (2, [1, 0, 0], 1),
        (2, [0, 1, 0], 2),
        (6, [0, 0, 1], 0),
        (0, [1, 0, 0], 6),
        (5, [0, 0, 0, 0, 1], 0),
        (1, [1, 0, 0, 0, 0], 6),
        (4, [0, 0, 0, 1, 0], 5),
        (5, [1], 5),
        (6, [0, 0, 0, 0, 0, 0, 1], 2),
        (1, [1, 0, 0, 0, 0, 0, 0], 5),
    ],
)
def test_a_shift_moves_the_focus_and_wraps_around(start, s, end):
    focus = torch.eye(N)[start].expand(B, N)
    moved = circular_shift(focus, torch.tensor(s, dtype=torch.float32).expand(B, -1))
    assert torch.equal(moved, torch.eye(N)[end].expand(B, N))


def test_a_blurred_shift_of_a_worked_case():
    w, s = torch.tensor([[0.5, 0.3, 0.2, 0.0]]), torch.tensor([[0.1, 0.6, 0.3]])
    # Slot 0 keeps 0.6 of its own 0.5, gets 0.3 of slot 3's 0 and 0.1 of slot 1's 0.3.
    close(circular_shift(w, s), [[0.33, 0.35, 0.21, 0.11]])


@pytest.mark.parametrize("shifts", [1, 3, 5, 7])
def test_the_shift_matches_the_loop(shifts):
    torch.manual_seed(shifts)
    w, s = weights_like(B, K, N), weights_like(B, K, shifts)
    wanted = [[slow.shift(w[b, k].tolist(), s[b, k].tolist()) for k in range(K)] for b in range(B)]
    close(circular_shift(w, s), wanted)


@pytest.mark.parametrize("shifts", [2, 9])
def test_an_even_or_too_wide_range_of_shifts_is_refused(shifts):
    with pytest.raises(ValueError, match=f"S must be odd and at most N=7, got {shifts}"):
        circular_shift(weights_like(B, N), weights_like(B, shifts))


def test_sharpening_of_a_worked_case():
    w = torch.tensor([[0.6, 0.3, 0.1]])
    close(sharpen(w, torch.tensor([[2.0]])), [[0.36 / 0.46, 0.09 / 0.46, 0.01 / 0.46]])


def test_the_softmax_form_of_a_worked_case():
    w = torch.tensor([[0.75, 0.25]])
    gamma = torch.tensor([[2 * math.log(3)]])  # odds 3^(2 (0.75 - 0.25)) = 3 : 1
    close(sharpen(w, gamma, "softmax"), [[0.75, 0.25]])
    close(sharpen(torch.tensor([[1.0, 0.0]]), gamma, "softmax"), [[0.9, 0.1]])


def test_power_sharpening_matches_the_loop_and_one_changes_nothing():
    torch.manual_seed(0)
    w, gamma = weights_like(B, K, N), 1 + 9 * torch.rand(B, K, 1)
    wanted = [
        [slow.sharpen(w[b, k].tolist(), gamma[b, k].item()) for k in range(K)] for b in range(B)
    ]
    close(sharpen(w, gamma), wanted)
    torch.testing.assert_close(sharpen(w, torch.ones(B, K, 1)), w)


@pytest.mark.parametrize("gamma", [1e3, 1e10, 1e30, 3e38])
def test_a_huge_gamma_leaves_the_largest_weight_and_ties_share(gamma):
    w = torch.tensor([[0.1, 0.5, 0.4], [0.4, 0.2, 0.4]])
    got = sharpen(w, torch.full((2, 1), gamma))
    assert torch.equal(got, torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]))


def test_a_weight_that_came_in_below_zero_counts_as_zero():
    w = torch.tensor([[-0.2, 0.6, 0.3]])
    close(
        sharpen(w, torch.tensor([[1.5]])), sharpen(w.clamp_min(0), torch.tensor([[1.5]])).tolist()
    )


def test_location_is_interpolation_then_shift_then_sharpening():
    torch.manual_seed(0)
    w, previous, s = weights_like(B, K, N), weights_like(B, K, N), weights_like(B, K, S)
    g, gamma = torch.rand(B, K, 1), 1 + 4 * torch.rand(B, K, 1)

    def one(b: int, k: int) -> list[float]:
        mixed = slow.interpolate(w[b, k].tolist(), previous[b, k].tolist(), g[b, k].item())
        return slow.sharpen(slow.shift(mixed, s[b, k].tolist()), gamma[b, k].item())

    got = location_based_addressing(w, g, s, gamma, previous)
    assert got.shape == (B, K, N)
    close(got, [[one(b, k) for k in range(K)] for b in range(B)])


def test_without_previous_weights_they_are_uniform():
    w, s, g, gamma = weights_like(B, N), weights_like(B, S), torch.rand(B, 1), torch.full((B, 1), 2)
    uniform = torch.full((B, N), 1 / N)
    assert torch.equal(
        location_based_addressing(w, g, s, gamma),
        location_based_addressing(w, g, s, gamma, uniform),
    )


@pytest.mark.parametrize("form", ["power", "softmax"])
def test_the_system_is_the_functions_in_its_form(form):
    torch.manual_seed(0)
    system = AddressingSystem(form)
    key, memory, beta = torch.randn(B, K, M), torch.randn(B, N, M), torch.rand(B, K, 1)
    g, s, gamma = torch.rand(B, K, 1), weights_like(B, K, S), 1 + torch.rand(B, K, 1)
    content = system.content_based_addressing(key, memory, beta)
    assert torch.equal(content, content_based_addressing(key, memory, beta))
    previous = weights_like(B, K, N)
    got = system.location_based_addressing(content, g, s, gamma, previous)
    assert torch.equal(
        got, sharpen(circular_shift(interpolate(content, previous, g), s), gamma, form)
    )


def test_another_form_of_sharpening_is_refused():
    w, one = weights_like(B, N), torch.ones(B, 1)
    wanted = 'sharpening must be "power" or "softmax", got \'max\''
    with pytest.raises(ValueError, match=wanted):
        sharpen(w, one, "max")  # pyright: ignore
    with pytest.raises(ValueError, match=wanted):
        location_based_addressing(w, one, weights_like(B, S), one, None, "max")  # pyright: ignore
    with pytest.raises(ValueError, match=wanted):
        AddressingSystem("max")  # pyright: ignore
