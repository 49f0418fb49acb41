"""Running a step over a sequence, compiled where that works."""

import os
import shutil
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from model.families import Network
from model.state import flatten, unflatten

Step = Callable[[Tensor, Any], tuple[Tensor, Any]]
Compile = Literal["auto", "on", "off"]


class Rollout(NamedTuple):
    """What a sequence gave."""

    logits: Tensor  # (B, T, Y)
    memory_change: Tensor  # scalar: sum_ij |M_t(i, j) - M_{t-1}(i, j)|, mean over B and T


def rollout(step: Step, state: Any, inputs: Tensor, memory: int | None = None) -> Rollout:
    """inputs: (B, T, X), state: that of B fresh episodes. Where `memory` is given, it is the
    place of the memory among the state's tensors and its change is measured, else told as 0.

    Rows and the first state are made contiguous: an expanded state has strides of its own,
    for which a compiled step would be compiled once more.
    """
    state = unflatten(state, [part.contiguous() for part in flatten(state)])
    outputs: list[Tensor] = []
    change = inputs.new_zeros(())
    for row in inputs.unbind(dim=1):
        before = state
        y, state = step(row.contiguous(), state)
        outputs.append(y)
        if memory is not None:
            change = change + (flatten(state)[memory] - flatten(before)[memory]).abs().sum()
    return Rollout(torch.stack(outputs, dim=1), change / (inputs.shape[0] * inputs.shape[1]))


class TrainingStep:
    """A network's step, compiled for the one batch size of training, or eager.

    mode "auto" compiles where a C++ compiler is and goes on eagerly, with a notice, where
    compiling fails; "on" raises instead; "off" never compiles.
    """

    def __init__(self, network: Network, mode: Compile, notify: Callable[[str], None]) -> None:
        self.eager: Step = network.step
        self.mode, self.notify = mode, notify
        self.compiled = self._compile()

    def __call__(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """x: (B, X). Returns logits (B, Y) and the next state."""
        if self.compiled is None:
            return self.eager(x, state)
        try:
            return self.compiled(x, state)
        except Exception as error:  # the compiler's errors share no base class
            self._give_up(error)
            return self.eager(x, state)

    def _compile(self) -> Step | None:
        if self.mode == "off":
            return None
        if self.mode == "auto" and not find_compiler():
            self.notify("no C++ compiler found: training runs eagerly, which is slower")
            return None
        try:
            return torch.compile(self.eager, dynamic=False)
        except Exception as error:  # as above
            self._give_up(error)
            return None

    def _give_up(self, error: Exception) -> None:
        if self.mode == "on":
            raise error
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        self.notify(f"compiling failed ({reason}): training runs eagerly, which is slower")
        self.compiled = None


def find_compiler() -> str | None:
    """The C++ compiler that torch.compile would call, or None."""
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
