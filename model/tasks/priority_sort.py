"""Priority sort (Graves, Wayne and Danihelka 2014, section 4.5)."""

from typing import Any

import msgspec
import torch
from torch import Generator, Tensor

from model.families import Activation
from model.tasks.task import Batch, Measured, Measures, Task, binary_loss, binary_measures


class PrioritySort(msgspec.Struct, frozen=True):
    """See random vectors, each with a priority, then a delimiter flag; write down the four
    fifths of highest priority, highest first: of 20 vectors 16.

    width: bits a vector; min_items, max_items: vectors a sequence in training.
    """

    width: int = 8
    min_items: int = 20
    max_items: int = 20
    name: str = "priority-sort"
    activation: Activation = "sigmoid"
    unit: str = "items"
    judged_by: Measured = "wrong_bits"
    test_lengths: tuple[int, ...] = (10, 20)

    @property
    def units(self) -> tuple[str, ...]:
        """Items are all that a sequence can have more of."""
        return (self.unit,)

    @property
    def input_size(self) -> int:
        """The bits, the delimiter flag and the priority."""
        return self.width + 2

    @property
    def output_size(self) -> int:
        """The bits."""
        return self.width

    @property
    def form(self) -> dict[str, Any]:
        """Rows of bits and the flag, then a priority in [-1, 1]."""
        number = {"name": "priority", "lowest": -1, "highest": 1}
        return {"kind": "bits", "width": self.width, "flags": ["delimiter"], "numbers": [number]}

    @property
    def train_lengths(self) -> tuple[int, int]:
        """Fewest and most vectors that `sample` draws."""
        return self.min_items, self.max_items

    @property
    def stages(self) -> tuple[Task, ...]:
        """A quarter of the vectors, half of them, all."""
        counts = [max(2, self.max_items // part) for part in (4, 2)]
        easier = (msgspec.structs.replace(self, min_items=n, max_items=n) for n in counts)
        return (*easier, self)

    def sample(self, generator: Generator, batch: int) -> Batch:
        """One number of vectors a batch, uniform over those of training: B rows without padding."""
        low, high = self.train_lengths
        items = int(torch.randint(low, high + 1, (1,), generator=generator))
        return self.at_length(generator, batch, items)

    def at_length(self, generator: Generator, batch: int, length: int) -> Batch:
        """`length` vectors, the delimiter, a silent row for each vector of the answer.

        Returns inputs (B, T, X), targets (B, T, Y), mask, T = length + 1 + 4 length // 5.
        Raises ValueError for fewer than two vectors.
        """
        if length < 2:
            raise ValueError(f"items must be at least 2, got {length}")
        bits = (torch.rand(batch, length, self.width, generator=generator) < 0.5).float()
        priorities = 2 * torch.rand(batch, length, generator=generator) - 1
        ranked = sort_rows(bits, priorities)[:, : 4 * length // 5]
        rows = length + 1 + ranked.shape[1]
        inputs = torch.zeros(batch, rows, self.input_size)
        inputs[:, :length, : self.width] = bits
        inputs[:, :length, self.width + 1] = priorities
        inputs[:, length, self.width] = 1
        targets = torch.zeros(batch, rows, self.width)
        targets[:, length + 1 :] = ranked
        mask = torch.zeros(batch, rows, dtype=torch.bool)
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


def sort_rows(rows: Tensor, priorities: Tensor) -> Tensor:
    """Whole rows, that of highest priority first. rows: (B, n, width); priorities: (B, n)."""
    order = priorities.argsort(dim=1, descending=True, stable=True)
    return rows.take_along_dim(order.unsqueeze(2), dim=1)
