"""What every family's step and sequence share: rows that fit, and a loop of steps."""

from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn

from model.families import Network

State = TypeVar("State", bound=tuple[Any, ...])


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


class Stepped(nn.Module, Generic[State]):
    """What follows from `step_traced` alone, for networks whose state begins with their memory."""

    input_size: int

    def step_traced(self, x: Tensor, state: State) -> tuple[Tensor, State, Any]:
        """x: (B, X). Returns logits (B, Y), the next state and the trace."""
        raise NotImplementedError

    def step(self, input_t: Tensor, state: State) -> tuple[Tensor, State]:
        """input_t: (B, X). Returns logits (B, Y) and the next state.

        Raises ValueError for other dims, and for rows that are not as many as the state's.
        """
        require_row(input_t, state[0].shape[0], self.input_size)
        y, following, _ = self.step_traced(input_t, state)
        return y, following

    def forward(self, inputs: Tensor, state: State | None = None) -> Tensor:
        """A whole sequence, from fresh state where none is given.

        inputs: (B, T, X). Returns logits (B, T, Y). Use `run` to keep the state as well.
        """
        return self.run(inputs, state)[0]

    def run(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """inputs: (B, T, X). Returns logits (B, T, Y) and the state after the last row."""
        return run(cast(Network, self), inputs, state)
