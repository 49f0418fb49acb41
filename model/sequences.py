"""What every family's step and sequence share: rows that fit, and a loop of steps."""

from typing import Any

import torch
from torch import Tensor

from model.families import Network


def require_row(input_t: Tensor, rows: int, size: int) -> None:
    """Raises ValueError unless input_t is (B, X), B the state's `rows` and X `size`."""
    if input_t.shape != (rows, size):
        expected = f"({rows}, {size}), a row of each in the state"
        raise ValueError(f"input_t must be {expected}, got {tuple(input_t.shape)}")


def run(network: Network, inputs: Tensor, state: Any = None) -> tuple[Tensor, Any]:
    """A whole sequence, from fresh state where None.

    inputs: (B, T, X). Returns logits (B, T, Y) and the state after the last row.
    Raises ValueError for other dims.
    """
    if inputs.dim() != 3 or inputs.shape[1] < 1 or inputs.shape[2] != network.input_size:
        raise ValueError(
            f"inputs must be (B, T, {network.input_size}) with T >= 1, got {tuple(inputs.shape)}"
        )
    state = network.initial_state(inputs.shape[0]) if state is None else state
    outputs: list[Tensor] = []
    for row in inputs.unbind(dim=1):
        y, state = network.step(row, state)
        outputs.append(y)
    return torch.stack(outputs, dim=1), state
