"""Associative recall (Graves, Wayne and Danihelka 2014, section 4.3)."""

from typing import Any

import msgspec
import torch
from torch import Generator, Tensor

from model.families import Activation
from model.tasks.task import Batch, Measured, Measures, Task, binary_loss, binary_measures


class AssociativeRecall(msgspec.Struct, frozen=True):
    """See items, each a delimiter and some vectors, then one of them again between two query
    flags; write down the item that came after it.

    width: bits a vector; vectors: vectors an item; min_items, max_items: items a sequence in
    training. The item queried is never the last one.
    """

    width: int = 6
    vectors: int = 3
    min_items: int = 2
    max_items: int = 6
    name: str = "associative-recall"
    activation: Activation = "sigmoid"
    unit: str = "items"
    judged_by: Measured = "wrong_bits"
    test_lengths: tuple[int, ...] = (6, 10, 12, 15, 20)

    @property
    def units(self) -> tuple[str, ...]:
        """Items are all that a sequence can have more of."""
        return (self.unit,)

    @property
    def input_size(self) -> int:
        """The bits, the flag before an item and the flag around the query."""
        return self.width + 2

    @property
    def output_size(self) -> int:
        """The bits."""
        return self.width

    @property
    def form(self) -> dict[str, Any]:
        """Rows of bits, then the flags."""
        return {"kind": "bits", "width": self.width, "flags": ["item", "query"]}

    @property
    def train_lengths(self) -> tuple[int, int]:
        """Fewest and most items that `sample` draws."""
        return self.min_items, self.max_items

    @property
    def stages(self) -> tuple[Task, ...]:
        """Two items, then up to the middle, then all."""
        middle = (self.min_items + self.max_items) // 2
        tops = (self.min_items, middle)
        return (*(msgspec.structs.replace(self, max_items=top) for top in tops), self)

    def sample(self, generator: Generator, batch: int) -> Batch:
        """One number of items a batch, uniform over those of training: B rows without padding."""
        low, high = self.train_lengths
        items = int(torch.randint(low, high + 1, (1,), generator=generator))
        return self.at_length(generator, batch, items)

    def at_length(self, generator: Generator, batch: int, length: int) -> Batch:
        """`length` items, the query between its flags, as many silent rows as an item has vectors.

        Returns inputs (B, T, X), targets (B, T, Y), mask, T = (length + 2) (vectors + 1).
        Raises ValueError for fewer than two items: the last has none after it.
        """
        if length < 2:
            raise ValueError(f"items must be at least 2, got {length}")
        count, width = self.vectors, self.width
        shape = (batch, length, count, width)
        items = (torch.rand(shape, generator=generator) < 0.5).float()
        asked = torch.randint(0, length - 1, (batch,), generator=generator)
        each = torch.arange(batch)
        inputs = torch.zeros(batch, length + 2, count + 1, self.input_size)
        inputs[:, :length, 0, width] = 1
        inputs[:, :length, 1:, :width] = items
        inputs[:, length, 1:, :width] = items[each, asked]
        inputs[:, length : length + 2, 0, width + 1] = 1
        targets = torch.zeros(batch, length + 2, count + 1, width)
        targets[:, length + 1, 1:] = items[each, asked + 1]
        mask = torch.zeros(batch, length + 2, count + 1, dtype=torch.bool)
        mask[:, length + 1, 1:] = True
        return Batch(inputs.flatten(1, 2), targets.flatten(1, 2), mask.flatten(1, 2))

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy of the bits in the answer, in nats. logits: (B, T, Y)."""
        return binary_loss(logits, batch)

    def measures(self, logits: Tensor, batch: Batch) -> Measures:
        """Wrong bits and cross-entropy bits a sequence. logits: (B, T, Y)."""
        return binary_measures(logits, batch)

    def optimum_bits(self, batch: Batch) -> Tensor:
        """Nothing: the answer has been seen."""
        return torch.zeros(batch.inputs.shape[0])
