"""The copy task (Graves, Wayne and Danihelka 2014, section 4.1)."""

from typing import Any

import msgspec
import torch
from torch import Generator, Tensor

from model.families import Activation
from model.tasks.task import Batch, Measured, Measures, Task, binary_loss, binary_measures


class Copy(msgspec.Struct, frozen=True):
    """See random vectors, then a delimiter flag; write the vectors down with no further input.

    width: bits a vector; min_length, max_length: vectors a sequence in training.
    """

    width: int = 8
    min_length: int = 1
    max_length: int = 20
    name: str = "copy"
    activation: Activation = "sigmoid"
    unit: str = "vectors"
    judged_by: Measured = "wrong_bits"
    test_lengths: tuple[int, ...] = (10, 20, 30, 50, 80, 120)

    @property
    def units(self) -> tuple[str, ...]:
        """Vectors are all that a sequence can have more of."""
        return (self.unit,)

    @property
    def input_size(self) -> int:
        """The bits and, last, the delimiter flag."""
        return self.width + 1

    @property
    def output_size(self) -> int:
        """The bits."""
        return self.width

    @property
    def form(self) -> dict[str, Any]:
        """Rows of bits, then the flag."""
        return {"kind": "bits", "width": self.width, "flags": ["delimiter"]}

    @property
    def train_lengths(self) -> tuple[int, int]:
        """Shortest and longest sequence that `sample` draws."""
        return self.min_length, self.max_length

    @property
    def stages(self) -> tuple[Task, ...]:
        """At most a quarter of the vectors, half of them, all."""
        low, high = self.train_lengths
        tops = [max(low, high // part) for part in (4, 2)]
        return (*(msgspec.structs.replace(self, max_length=top) for top in tops), self)

    def sample(self, generator: Generator, batch: int) -> Batch:
        """One length a batch, uniform over the training lengths: B rows without padding."""
        low, high = self.train_lengths
        length = int(torch.randint(low, high + 1, (1,), generator=generator))
        return self.at_length(generator, batch, length)

    def at_length(self, generator: Generator, batch: int, length: int) -> Batch:
        """`length` vectors, the delimiter, `length` silent rows in which the copy is read.

        Returns inputs (B, 2 length + 1, X), targets (B, 2 length + 1, Y), mask.
        Raises ValueError for a length below 1.
        """
        if length < 1:
            raise ValueError(f"length must be at least 1, got {length}")
        bits = (torch.rand(batch, length, self.width, generator=generator) < 0.5).float()
        inputs = torch.zeros(batch, 2 * length + 1, self.input_size)
        inputs[:, :length, : self.width] = bits
        inputs[:, length, self.width] = 1
        targets = torch.zeros(batch, 2 * length + 1, self.width)
        targets[:, length + 1 :] = bits
        mask = torch.zeros(batch, 2 * length + 1, dtype=torch.bool)
        mask[:, length + 1 :] = True
        return Batch(inputs, targets, mask)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy of the bits in the answer, in nats. logits: (B, T, Y)."""
        return binary_loss(logits, batch)

    def measures(self, logits: Tensor, batch: Batch) -> Measures:
        """Wrong bits and cross-entropy bits a sequence. logits: (B, T, Y)."""
        return binary_measures(logits, batch)

    def optimum_bits(self, batch: Batch) -> Tensor:
        """Nothing: the answer has been seen."""
        return torch.zeros(batch.inputs.shape[0])
