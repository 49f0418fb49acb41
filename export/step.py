"""One step of any family as a module over flat tensors: what both exporters trace."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from model.families import Activation, Network
from model.rows import is_sparse, next_names
from model.state import StateSpec, flatten, unflatten

# The batch in the example inputs. A size of 1 would be taken for a constant of the graph.
EXAMPLE_BATCH = 3


class StepModule(nn.Module):
    """`forward(x, *state) -> (y, *state')`, where traced followed by the trace. Of a sparsely
    updated tensor it tells the rows that change and their indices (model/rows.py).

    network: left as it is; a copy without gradients is used. activation: put over the logits,
    so that y is what a client reads. Raises ValueError for another activation.
    """

    def __init__(self, network: Network, activation: Activation, traced: bool = False) -> None:
        super().__init__()
        if activation not in ("sigmoid", "softmax", "none"):
            raise ValueError(
                f'activation must be "sigmoid", "softmax" or "none", got {activation!r}'
            )
        module = copy.deepcopy(cast(nn.Module, network)).eval().requires_grad_(False)
        self.network: Any = module
        self.activation, self.traced = activation, traced
        self.family = network.family
        self.input_size, self.output_size = network.input_size, network.output_size
        self.state_spec: StateSpec = network.state_spec
        self.trace_spec: StateSpec = network.trace_spec
        self._nesting = network.initial_state(1)
        self.eval()

    @property
    def input_names(self) -> list[str]:
        """x, then the state's tensors."""
        return ["x", *(tensor.name for tensor in self.state_spec)]

    @property
    def output_names(self) -> list[str]:
        """y, what tells the next state, then the trace where traced."""
        trace = [tensor.name for tensor in self.trace_spec] if self.traced else []
        return ["y", *next_names(self.state_spec), *trace]

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """x: (B, X), state: one tensor (B, *dims) each. Returns y (B, Y) and the others."""
        nested = unflatten(self._nesting, state)
        network = self.network
        step = network.updates if is_sparse(self.state_spec) else network.step_traced
        logits, following, trace = step(x, nested)
        told = flatten(trace) if self.traced else ()
        return (self.activate(logits), *flatten(following), *told)

    def activate(self, logits: Tensor) -> Tensor:
        """The task's outputs from the logits (B, Y)."""
        if self.activation == "sigmoid":
            return torch.sigmoid(logits)
        return torch.softmax(logits, dim=1) if self.activation == "softmax" else logits

    def initial_state(self) -> tuple[Tensor, ...]:
        """The state of a new session, one tensor (*dims) each, without batch axis.

        Computed in float64 and rounded, so that the last bit of one processor's float32
        kernels does not show in the bundle's bytes.
        """
        exact = copy.deepcopy(self.network).double().initial_state(1)
        pairs = zip(flatten(exact), flatten(self._nesting), strict=True)
        return tuple(wide[0].to(narrow.dtype).contiguous() for wide, narrow in pairs)

    def example(self) -> tuple[Tensor, ...]:
        """Inputs to trace with: x and the state, a batch of three."""
        state = (row.expand(EXAMPLE_BATCH, *row.shape).clone() for row in self.initial_state())
        return (torch.zeros(EXAMPLE_BATCH, self.input_size), *state)
