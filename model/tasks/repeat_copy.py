"""The repeat copy task (Graves, Wayne and Danihelka 2014, section 4.2)."""

import math
from typing import Any, Literal

import msgspec
import torch
from torch import Generator, Tensor

from model.families import Activation
from model.tasks.task import Batch, Measured, Measures, Task, binary_loss, binary_measures

# Of the repeats 1..10 that the paper trains on: the channel has mean 0 and variance 1 there. They
# hold for any other range as well, so that a network means the same by the same number.
MEAN_REPEATS = 5.5
REPEATS_DEVIATION = math.sqrt((10**2 - 1) / 12)


class RepeatCopy(msgspec.Struct, frozen=True):
    """See random vectors, then a flag and how often to write them down; do so, then say "end".

    width: bits a vector; min_vectors .. max_repeats: those of a sequence in training; unit: what
    a length counts, where the other of the two is its most in training.
    """

    width: int = 8
    min_vectors: int = 1
    max_vectors: int = 10
    min_repeats: int = 1
    max_repeats: int = 10
    name: str = "repeat-copy"
    activation: Activation = "sigmoid"
    unit: Literal["repeats", "vectors"] = "repeats"
    judged_by: Measured = "wrong_bits"
    test_lengths: tuple[int, ...] = (10, 12, 15, 20)

    @property
    def units(self) -> tuple[str, ...]:
        """What evaluation can count."""
        return ("repeats", "vectors")

    @property
    def input_size(self) -> int:
        """The bits, the delimiter flag and, beside it, the number of repeats."""
        return self.width + 2

    @property
    def output_size(self) -> int:
        """The bits and the end marker."""
        return self.width + 1

    @property
    def form(self) -> dict[str, Any]:
        """Rows of bits, then the flag and the number, sent as (repeats - mean) / deviation."""
        number = {"name": "repeats", "mean": MEAN_REPEATS, "deviation": REPEATS_DEVIATION}
        return {"kind": "bits", "width": self.width, "flags": ["delimiter"], "numbers": [number]}

    @property
    def train_lengths(self) -> tuple[int, int]:
        """Fewest and most of the unit that `sample` draws."""
        if self.unit == "repeats":
            return self.min_repeats, self.max_repeats
        return self.min_vectors, self.max_vectors

    @property
    def stages(self) -> tuple[Task, ...]:
        """At most a third of each, two thirds, all."""
        tops = [
            (-(-self.max_vectors * share // 3), -(-self.max_repeats * share // 3))
            for share in (1, 2)
        ]
        easier = (
            msgspec.structs.replace(self, max_vectors=vectors, max_repeats=repeats)
            for vectors, repeats in tops
        )
        return (*easier, self)

    def sample(self, generator: Generator, batch: int) -> Batch:
        """One number of vectors and one of repeats a batch, uniform over those of training."""
        vectors = torch.randint(self.min_vectors, self.max_vectors + 1, (1,), generator=generator)
        repeats = torch.randint(self.min_repeats, self.max_repeats + 1, (1,), generator=generator)
        return self.of_size(generator, batch, int(vectors), int(repeats))

    def at_length(self, generator: Generator, batch: int, length: int) -> Batch:
        """`length` of the unit and the most in training of the other; see `of_size`."""
        if self.unit == "repeats":
            return self.of_size(generator, batch, self.max_vectors, length)
        return self.of_size(generator, batch, length, self.max_repeats)

    def of_size(self, generator: Generator, batch: int, vectors: int, repeats: int) -> Batch:
        """`vectors` rows, the row that asks, then silent rows for the copies and the end marker.

        Returns inputs (B, T, X), targets (B, T, Y), mask, T = vectors (repeats + 1) + 2.
        Raises ValueError for sizes below 1.
        """
        if vectors < 1 or repeats < 1:
            raise ValueError(f"vectors and repeats must be at least 1, got {vectors}, {repeats}")
        rows, width = vectors * (repeats + 1) + 2, self.width
        bits = (torch.rand(batch, vectors, width, generator=generator) < 0.5).float()
        inputs = torch.zeros(batch, rows, self.input_size)
        inputs[:, :vectors, :width] = bits
        inputs[:, vectors, width] = 1
        inputs[:, vectors, width + 1] = (repeats - MEAN_REPEATS) / REPEATS_DEVIATION
        targets = torch.zeros(batch, rows, self.output_size)
        targets[:, vectors + 1 : -1, :width] = bits.repeat(1, repeats, 1)
        targets[:, -1, width] = 1
        mask = torch.zeros(batch, rows, dtype=torch.bool)
        mask[:, vectors + 1 :] = True
        return Batch(inputs, targets, mask)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy of bits and end marker over the answer, in nats. logits: (B, T, Y)."""
        return binary_loss(logits, batch)

    def measures(self, logits: Tensor, batch: Batch) -> Measures:
        """Wrong bits, the end marker's among them, and cross-entropy bits. logits: (B, T, Y)."""
        return binary_measures(logits, batch)

    def optimum_bits(self, batch: Batch) -> Tensor:
        """Nothing: the answer has been seen."""
        return torch.zeros(batch.inputs.shape[0])
