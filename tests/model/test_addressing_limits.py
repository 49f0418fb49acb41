"""Addressing for any input: weights are distributions, gradients those of finite differences."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.addressing import (
    circular_shift,
    content_based_addressing,
    cosine_similarity,
    interpolate,
    location_based_addressing,
    sharpen,
)
from tests.model.machines import assert_distributions, weights_like

B, K, N, M, S = 4, 2, 7, 5, 3

scales = st.sampled_from([0.0, 1e-30, 1e-6, 1.0, 1e3, 1e15])
strengths = st.sampled_from([1e-30, 1.0, 50.0, 1e10, 1e30, 1e38])


@given(st.integers(0, 2**31), scales, scales, strengths)
def test_content_weights_are_distributions_for_any_key_memory_and_strength(
    seed, key_scale, memory_scale, beta
):
    torch.manual_seed(seed)
    key, memory = key_scale * torch.randn(B, K, M), memory_scale * torch.randn(B, N, M)
    assert_distributions(content_based_addressing(key, memory, torch.full((B, K, 1), beta)))


@given(
    st.integers(0, 2**31),
    st.floats(0, 1),
    st.sampled_from([1, 3, 5, 7]),
    st.one_of(st.floats(1, 100), st.sampled_from([1e5, 1e30, 3e38])),
    st.sampled_from([0.0, 1.0, 30.0, 1e4]),
    st.sampled_from(["power", "softmax"]),
)
def test_located_weights_are_distributions_for_any_focus_gate_shift_and_gamma(
    seed, g, shifts, gamma, focus, form
):
    torch.manual_seed(seed)
    w, previous = (torch.softmax(focus * torch.randn(B, K, N), dim=-1) for _ in range(2))
    s = torch.softmax(focus * torch.randn(B, K, shifts), dim=-1)
    gate, sharpness = torch.full((B, K, 1), g), torch.full((B, K, 1), gamma)
    assert_distributions(interpolate(w, previous, gate))
    assert_distributions(circular_shift(w, s))
    assert_distributions(sharpen(w, sharpness, form))
    assert_distributions(location_based_addressing(w, gate, s, sharpness, previous, form))


def doubles(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


def focused(*shape: int) -> Tensor:
    return weights_like(*shape, dtype=torch.float64).requires_grad_()


def positive(low: float, *shape: int) -> Tensor:
    return (low + torch.rand(*shape, dtype=torch.float64)).requires_grad_()


GRADIENTS = {
    "cosine": lambda: (cosine_similarity, (doubles(B, K, M), doubles(B, N, M))),
    "content": lambda: (
        content_based_addressing,
        (doubles(B, K, M), doubles(B, N, M), positive(0.5, B, K, 1)),
    ),
    "content of one head": lambda: (
        content_based_addressing,
        (doubles(B, M), doubles(B, N, M), positive(0.5, B, 1)),
    ),
    "interpolation": lambda: (
        interpolate,
        (focused(B, K, N), focused(B, K, N), positive(0, B, K, 1)),
    ),
    "shift": lambda: (circular_shift, (focused(B, K, N), focused(B, K, S))),
    "power": lambda: (sharpen, (focused(B, K, N), positive(1.5, B, K, 1))),
    "softmax": lambda: (
        lambda w, gamma: sharpen(w, gamma, "softmax"),
        (focused(B, K, N), positive(1.5, B, K, 1)),
    ),
    "location": lambda: (
        location_based_addressing,
        (
            focused(B, K, N),
            positive(0, B, K, 1),
            focused(B, K, S),
            positive(1.5, B, K, 1),
            focused(B, K, N),
        ),
    ),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_are_those_of_finite_differences(name):
    torch.manual_seed(0)
    function, inputs = GRADIENTS[name]()
    assert torch.autograd.gradcheck(function, inputs)


def test_gradients_are_finite_for_zero_keys_zero_memory_and_one_hot_weights():
    key = torch.zeros(B, K, M, requires_grad=True)
    memory = torch.zeros(B, N, M, requires_grad=True)
    beta = torch.full((B, K, 1), 50.0, requires_grad=True)
    previous = torch.eye(N)[2].expand(B, K, N).clone().requires_grad_()
    s = torch.eye(S)[1].expand(B, K, S).clone().requires_grad_()
    g = torch.zeros(B, K, 1, requires_grad=True)
    gamma = torch.full((B, K, 1), 100.0, requires_grad=True)
    content = content_based_addressing(key, memory, beta)
    w = location_based_addressing(content, g, s, gamma, previous)
    (w * torch.randn(B, K, N)).sum().backward()
    for part in (key, memory, beta, previous, s, g, gamma):
        assert part.grad is not None and torch.isfinite(part.grad).all()
