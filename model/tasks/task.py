"""What a task is: seeded batches, a loss, and both of the measures its papers report."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Generator, Tensor
from torch.nn import functional

from model.families import Activation
from model.tasks.verification import Proof

# Every purpose has its own range of generator seeds, so that no two can share a stream.
VALIDATION_SEED = 1_000_000_000
SELECTION_SEED = 1_500_000_000
TEST_SEED = 2_000_000_000

Measured = Literal["wrong_bits", "cross_entropy_bits"]
Split = Literal["training", "validation", "test"]


class Batch(NamedTuple):
    """B sequences of T rows; rows outside the mask are not scored."""

    inputs: Tensor  # (B, T, X)
    targets: Tensor  # (B, T, Y)
    mask: Tensor  # (B, T), bool

    @property
    def state(self) -> Mapping[str, Tensor]:
        """Of the first state what it gives itself, by name: (B, *dims)."""
        return {}

    def each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The same with every tensor changed."""
        return Batch(change(self.inputs), change(self.targets), change(self.mask))

    def to(self, device: torch.device) -> "Batch":
        """The same batch on `device`."""
        return self.each(lambda part: part.to(device))


class BegunBatch(Batch):
    """A batch that gives some tensors of its first state."""

    _state: Mapping[str, Tensor]

    @classmethod
    def of(cls, batch: Batch, state: Mapping[str, Tensor]) -> "BegunBatch":
        """`batch` with `state`, (B, *dims) each."""
        made = cls(batch.inputs, batch.targets, batch.mask)
        made._state = state
        return made

    @property
    def state(self) -> Mapping[str, Tensor]:
        """What it gives, by name."""
        return self._state

    def each(self, change: Callable[[Tensor], Tensor]) -> "BegunBatch":
        """The same with every tensor changed."""
        state = {name: change(part) for name, part in self._state.items()}
        return BegunBatch.of(super().each(change), state)


class Measures(NamedTuple):
    """The two measures, one number a sequence each."""

    wrong_bits: Tensor  # (B,), thresholded outputs that differ from the target
    cross_entropy_bits: Tensor  # (B,), summed over the scored outputs, in bits (log2)


class Task(Protocol):
    """A task as trainer and evaluation see it. Frozen: a curriculum makes one a stage."""

    @property
    def name(self) -> str: ...
    @property
    def input_size(self) -> int: ...
    @property
    def output_size(self) -> int: ...
    @property
    def activation(self) -> Activation:
        """What turns logits into outputs: "sigmoid", "softmax" or "none"."""
        ...

    @property
    def form(self) -> dict[str, Any]:
        """The kind of input form a client shows, as the card states it. A row of the kind `bits`
        has its `width` bits first, then the `flags`, then the `numbers`."""
        ...

    @property
    def unit(self) -> str:
        """What a length counts: "vectors", "items", ..."""
        ...

    @property
    def units(self) -> tuple[str, ...]:
        """What it can count: the task with another `unit` measures that."""
        ...

    @property
    def judged_by(self) -> Measured:
        """The measure by which weights are chosen and training counts as solved."""
        ...

    @property
    def train_lengths(self) -> tuple[int, int]:
        """Shortest and longest length that training draws."""
        ...

    @property
    def test_lengths(self) -> tuple[int, ...]:
        """Lengths that evaluation reports where none are asked for."""
        ...

    @property
    def stages(self) -> "tuple[Task, ...]":
        """Ever harder tasks that a curriculum goes through, this one last."""
        ...

    def sample(self, generator: Generator, batch: int) -> Batch:
        """A training batch of `batch` sequences."""
        ...

    def at_length(self, generator: Generator, batch: int, length: int) -> Batch:
        """`batch` sequences, all of `length`."""
        ...

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """logits: (B, T, Y). Returns the scalar that training makes small."""
        ...

    def measures(self, logits: Tensor, batch: Batch) -> Measures:
        """logits: (B, T, Y). Returns both measures, a number a sequence each."""
        ...

    def optimum_bits(self, batch: Batch) -> Tensor:
        """The least cross-entropy bits that anyone could expect to pay: (B,)."""
        ...


@runtime_checkable
class Queried(Protocol):
    """What a task has besides where a sequence asks several things, each answered in some rows."""

    def right(self, logits: Tensor, batch: Batch) -> Tensor:
        """logits: (B, T, Y). Returns the share of each sequence's queries answered right: (B,)."""
        ...


@runtime_checkable
class Provable(Protocol):
    """What a task has besides where a finite set can prove a network right for every length."""

    def verification(self) -> Proof:
        """The set. Raises ValueError where there is none."""
        ...


@runtime_checkable
class Instances(Protocol):
    """What a task has besides where a sequence shows the same things again and again."""

    def at_instances(self, logits: Tensor, batch: Batch) -> Tensor:
        """logits: (B, T, Y). Returns the share of the things that a sequence has right where it
        shows them for the 1st, 2nd, ... time: (B, instances)."""
        ...


@runtime_checkable
class Judged(Protocol):
    """What a task has besides where the answer lies in the state, not in y."""

    def judged(self, y: Tensor, state: Any, targets: Tensor) -> Tensor:
        """y: (B, Y), state: after the row, targets: (B, ...) of the row. Returns (B, ...), which
        `loss` and `measures` get row by row in place of the logits."""
        ...


@runtime_checkable
class Undecided(Protocol):
    """What a task has besides where the network tells how undecided it is."""

    def entropy(self, logits: Tensor) -> Tensor:
        """logits: (B, T, ...). Returns the mean entropy of the choices made, a scalar, in nats."""
        ...


@runtime_checkable
class HeldOut(Protocol):
    """What a task has besides whose sequences are made of data, of which training sees a part."""

    def drawn_for(self, split: Split) -> "Task":
        """The same task, of the data that is kept for `split`."""
        ...


def drawn_for(task: Task, split: Split) -> Task:
    """The task as `split` draws it: itself where its sequences are made of nothing but chance."""
    return task.drawn_for(split) if isinstance(task, HeldOut) else task


def join(batches: Sequence[Batch]) -> Batch:
    """One batch of them all: shorter sequences end in silent rows that are not scored.

    Raises ValueError for sequences that begin from states of their own.
    """
    if any(batch.state for batch in batches):
        raise ValueError("sequences with first states of their own cannot be mixed")
    longest = max(batch.inputs.shape[1] for batch in batches)

    def padded(part: Tensor) -> Tensor:
        rows = part.new_zeros(part.shape[0], longest - part.shape[1], *part.shape[2:])
        return torch.cat([part, rows], dim=1)

    parts = zip(*batches, strict=True)
    inputs, targets, mask = (torch.cat([padded(part) for part in same]) for same in parts)
    return Batch(inputs, targets, mask)


def sample_mixed(task: Task, generator: Generator, batch: int) -> Batch:
    """`batch` sequences, each of a length of its own."""
    return join([task.sample(generator, 1) for _ in range(batch)])


def binary_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Mean cross-entropy, in nats, of the bits in the scored rows. logits: (B, T, Y)."""
    return functional.binary_cross_entropy_with_logits(
        logits[batch.mask], batch.targets[batch.mask]
    )


def binary_measures(logits: Tensor, batch: Batch) -> Measures:
    """Both measures where the targets are bits. logits: (B, T, Y); returns (B,) and (B,)."""
    scored = batch.mask.unsqueeze(2)
    wrong = ((logits > 0) != (batch.targets > 0.5)) & scored
    nats = functional.binary_cross_entropy_with_logits(logits, batch.targets, reduction="none")
    bits = (nats * scored).sum(dim=(1, 2)) / math.log(2)
    return Measures(wrong.sum(dim=(1, 2)).to(logits.dtype), bits)
