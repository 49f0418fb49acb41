"""Stopping at the first number that is not one, and naming where it came from."""

from typing import cast

import torch
from torch import Tensor, nn

from model.families import Network
from model.rollout import first_state
from model.state import flatten
from model.tasks import Batch


class NonFiniteError(ArithmeticError):
    """Training met NaN or Inf. `step` is the optimiser step, `tensor` what held it first."""

    def __init__(self, step: int, tensor: str) -> None:
        super().__init__(
            f"step {step}: expected finite numbers, got NaN or Inf in {tensor}; "
            "the last checkpoint is from before it"
        )
        self.step, self.tensor = step, tensor


def find_nonfinite(network: nn.Module, batch: Batch) -> str:
    """The first tensor that is not finite: weights, then the rows in order, then gradients.

    Runs the batch again, eagerly. Call it with the weights and gradients of the failed step.
    """
    for name, parameter in network.named_parameters():
        if not _finite(parameter):
            return f"weight {name}"
    with torch.no_grad():
        found = _in_rollout(cast(Network, network), batch)
    if found is not None:
        return found
    for name, parameter in network.named_parameters():
        if parameter.grad is not None and not _finite(parameter.grad):
            return f"gradient of {name}"
    return "the loss"


def _in_rollout(network: Network, batch: Batch) -> str | None:
    state = first_state(network, batch)
    names = [spec.name for spec in network.state_spec]
    for number, row in enumerate(batch.inputs.unbind(dim=1)):
        if not _finite(row):
            return f"inputs at row {number}"
        y, state = network.step(row, state)
        for name, part in zip(names, flatten(state), strict=True):
            if not _finite(part):
                return f"state {name} after row {number}"
        if not _finite(y):
            return f"logits at row {number}"
    return None


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
