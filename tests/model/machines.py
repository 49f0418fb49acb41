"""Machines with sizes that differ pairwise, rows for them, and what their states must be."""

from typing import Any

import torch
from torch import Tensor

from model.controllers import ControllerKind
from model.neural_turing_machine import NeuralTuringMachine, NTMState
from model.state import flatten

B, T, X, Y, N, M, R, W, H = 4, 6, 9, 10, 7, 5, 2, 3, 8
CONTROLLERS: tuple[ControllerKind, ...] = ("lstm", "feedforward", "attention")


def machine(controller: ControllerKind = "lstm", **options) -> NeuralTuringMachine:
    torch.manual_seed(0)
    heads = {"read_heads": R, "write_heads": W, **options}
    return NeuralTuringMachine(X, Y, N, M, controller=controller, controller_size=H, **heads)


def rows(steps: int = T, seed: int = 1, batch: int = B) -> Tensor:
    return torch.randn(batch, steps, X, generator=torch.Generator().manual_seed(seed))


def same(left, right) -> bool:
    return all(torch.equal(a, b) for a, b in zip(flatten(left), flatten(right), strict=True))


def assert_as_specified(network: Any, x: Tensor) -> None:
    """The tensors of a fresh state, the next one and the trace are what their specs state, by dims
    and dtype. x: (B, X)."""
    state = network.initial_state(len(x))
    _, after, trace = network.step_traced(x, state)
    for parts, specs in (
        (state, network.state_spec),
        (after, network.state_spec),
        (trace, network.trace_spec),
    ):
        got = [(tuple(part.shape), str(part.dtype)) for part in flatten(parts)]
        assert got == [((len(x), *spec.dims), f"torch.{spec.dtype}") for spec in specs]


def lived_in(ntm: NeuralTuringMachine) -> NTMState:
    """A state with rows that differ, some steps from the start."""
    return ntm.run(rows(4, seed=9))[1]


def weights_like(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.softmax(2 * torch.randn(*shape, dtype=dtype), dim=-1)


def assert_distributions(weights: Tensor) -> None:
    assert torch.isfinite(weights).all()
    assert (weights >= 0).all()
    assert (weights.double().sum(dim=-1) - 1).abs().max() <= 1e-6


def assert_weights(state: NTMState) -> None:
    assert_distributions(state.read_weights)
    assert_distributions(state.write_weights)
