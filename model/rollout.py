"""Running a step over a sequence, compiled where that works."""

import os
import shutil
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

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


@runtime_checkable
class Taught(Protocol):
    """What a network has besides where it learns whole sequences faster than step by step."""

    def taught(self, inputs: Tensor) -> Tensor:
        """What its steps give for a training batch. inputs: (B, T, X). Returns logits (B, T, Y)."""
        ...


class TrainingStep:
    """A network's step for batches of B rows, compiled, or eager where that does not work.

    mode "auto" compiles where a C++ compiler is and goes on eagerly, with a notice, where
    compiling fails; "on" raises what the compiler raises instead; "off" never compiles, and so does
    a network that is taught otherwise.
    """

    def __init__(
        self, network: Network, batch: int, mode: Compile, notify: Callable[[str], None]
    ) -> None:
        self.run: Step = network.step
        if mode == "off" or isinstance(network, Taught):
            return
        if mode == "auto" and not find_compiler():
            notify("no C++ compiler found: training runs eagerly, which is slower")
            return
        notify("compiling the step: up to some minutes at first, then cached")
        try:
            self.run = compile_step(network, batch)
        except Exception as error:  # the compiler's errors share no base class
            if mode == "on":
                raise
            reason = (str(error).splitlines() or [""])[0] or type(error).__name__
            notify(f"compiling failed ({reason}): training runs eagerly, which is slower")

    def __call__(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """x: (B, X). Returns logits (B, Y) and the next state."""
        return self.run(x, state)


def compile_step(network: Network, batch: int) -> Step:
    """The step compiled forward and backward, for a first row and for those that follow.

    Compiling is lazy, so three rows are run here for its errors to come up here. Gradients of
    the weights stay as they are.
    """
    step = cast(Step, torch.compile(network.step, dynamic=False, fullgraph=True))
    state = network.initial_state(batch)
    inputs = flatten(state)[0].new_zeros(batch, 3, network.input_size)
    loss = rollout(step, state, inputs).logits.sum()
    weights = list(cast(nn.Module, network).parameters())
    torch.autograd.grad(loss, weights, allow_unused=True)
    return step


def find_compiler() -> str | None:
    """The C++ compiler that torch.compile would call, or None."""
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
