"""Running a step over a sequence, compiled where that works."""

import os
import shutil
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from model.families import Network
from model.state import flatten, unflatten
from model.tasks.task import Batch, Judged, Task

Step = Callable[[Tensor, Any], tuple[Tensor, Any]]
View = Callable[[Tensor, Any, int], Tensor]  # y, the state after the row, the row's number
Compile = Literal["auto", "on", "off", "graphs"]


@runtime_checkable
class Begins(Protocol):
    """A network of which what is given decides the dims of the rest of its first state."""

    def begin(self, given: Mapping[str, Tensor]) -> Any:
        """The first state with the given tensors, (B, *dims) each, by their names."""
        ...


class Rollout(NamedTuple):
    """What a sequence gave."""

    logits: Tensor  # (B, T, Y)
    memory_change: Tensor  # scalar: sum_ij |M_t(i, j) - M_{t-1}(i, j)|, mean over B and T


def first_state(network: Network, batch: Batch) -> Any:
    """The state that `batch` begins with: a fresh one, but for what it gives itself.

    Raises ValueError for a tensor that the network's state has not.
    """
    rows = batch.inputs.shape[0]
    if not batch.state:
        return network.initial_state(rows)
    if isinstance(network, Begins):
        return network.begin(batch.state)
    fresh = network.initial_state(rows)
    names = [spec.name for spec in network.state_spec]
    if unknown := sorted(batch.state.keys() - set(names)):
        raise ValueError(f"state must be of {names}, got {unknown}")
    parts = zip(names, flatten(fresh), strict=True)
    return unflatten(fresh, [batch.state.get(name, part) for name, part in parts])


def judging(task: Task, batch: Batch) -> View | None:
    """What `task` judges of each row of `batch`; None where that is y."""
    if not isinstance(task, Judged):
        return None
    return lambda y, state, row: task.judged(y, state, batch.targets[:, row])


def rollout(
    step: Step,
    state: Any,
    inputs: Tensor,
    memory: int | None = None,
    view: View | None = None,
    clip: float = 0.0,
) -> Rollout:
    """inputs: (B, T, X), state: that of B fresh episodes. Where `memory` is given, it is the
    place of the memory among the state's tensors and its change is measured, else told as 0.
    view: takes y and the state after a row, and gives what is told as that row's logits.
    clip: the largest gradient of an element of the state between two rows; 0: any.

    Rows and the first state are made contiguous: an expanded state has strides of its own,
    for which a compiled step would be compiled once more.
    """
    state = unflatten(state, [part.contiguous() for part in flatten(state)])
    outputs: list[Tensor] = []
    change = inputs.new_zeros(())
    for row in inputs.unbind(dim=1):
        before = state
        y, state = step(row.contiguous(), state)
        if clip:
            _clip(state, clip)
        outputs.append(y if view is None else view(y, state, len(outputs)))
        if memory is not None:
            change = change + (flatten(state)[memory] - flatten(before)[memory]).abs().sum()
    return Rollout(torch.stack(outputs, dim=1), change / (inputs.shape[0] * inputs.shape[1]))


def _clip(state: Any, limit: float) -> None:
    def clipped(gradient: Tensor) -> Tensor:
        return gradient.clamp(-limit, limit)

    for part in flatten(state):
        if part.requires_grad:
            part.register_hook(clipped)


@runtime_checkable
class Taught(Protocol):
    """What a network has besides where it learns whole sequences faster than step by step."""

    def taught(self, inputs: Tensor) -> Tensor:
        """What its steps give for a training batch. inputs: (B, T, X). Returns logits (B, T, Y)."""
        ...


class TrainingStep:
    """A network's step for batches of B rows, compiled, or eager where that does not work.

    mode "auto" compiles where a C++ compiler is and goes on eagerly, with a notice, where
    compiling fails; "on" raises what the compiler raises instead; "graphs" is "on" with every call
    replayed as a CUDA graph; "off" never compiles, and so does a network that is taught otherwise.
    """

    def __init__(
        self, network: Network, batch: int, mode: Compile, notify: Callable[[str], None]
    ) -> None:
        self.run: Step = network.step
        self.graphs = mode == "graphs"
        if mode == "off" or isinstance(network, Taught):
            return
        if mode == "auto" and batch == 1:
            # An axis of one has no stride of its own, and the compiler compiles anew for each.
            notify("a batch of one is stepped eagerly, which is slower: --batch 16 compiles")
            return
        if mode == "auto" and not find_compiler():
            notify("no C++ compiler found: training runs eagerly, which is slower")
            return
        notify("compiling the step: up to some minutes at first, then cached")
        try:
            self.run = compile_step(network, batch, self.graphs)
        except Exception as error:  # the compiler's errors share no base class
            if mode != "auto":
                raise
            reason = (str(error).splitlines() or [""])[0] or type(error).__name__
            notify(f"compiling failed ({reason}): training runs eagerly, which is slower")

    def begin(self) -> None:
        """Call it before the first row of a batch: graphs may use the last batch's memory again."""
        if self.graphs:
            torch.compiler.cudagraph_mark_step_begin()

    def __call__(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """x: (B, X). Returns logits (B, Y) and the next state."""
        return self.run(x, state)


def compile_step(network: Network, batch: int, graphs: bool = False) -> Step:
    """The step compiled forward and backward, for a first row and for those that follow. graphs:
    and replayed as CUDA graphs.

    Compiling is lazy, so three rows are run here for its errors to come up here. Gradients of
    the weights stay as they are.
    """
    mode = "reduce-overhead" if graphs else None
    step = cast(Step, torch.compile(network.step, dynamic=False, fullgraph=True, mode=mode))
    state = network.initial_state(batch)
    inputs = flatten(state)[0].new_zeros(batch, 3, network.input_size)
    loss = rollout(step, state, inputs).logits.sum()
    weights = list(cast(nn.Module, network).parameters())
    torch.autograd.grad(loss, weights, allow_unused=True)
    return step


def find_compiler() -> str | None:
    """The C++ compiler that torch.compile would call, or None."""
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
