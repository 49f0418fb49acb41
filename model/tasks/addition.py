"""Adding two numbers with a program (Reed and de Freitas 2016, sec. 4.1)."""

from __future__ import annotations

from typing import Any

import msgspec
import torch
from torch import Generator, Tensor

from model.families import Activation
from model.npi_interpreter import trace
from model.npi_layout import LAYOUTS, Layout
from model.npi_numbers import typed_columns
from model.tasks.programs import PROGRAMS
from model.tasks.task import Batch, Measured, Measures, Task, binary_loss, binary_measures
from model.tasks.traces import batch_of, decisions_right


class Addition(msgspec.Struct, frozen=True):
    """Two numbers are typed onto the pad, a column a row, the first digits first; then each row is
    a tick of the program that adds them, answered by what that program does next: `programs.py`.

    In training the rows tell each decision as well, so that what follows from it is seen; tests
    have rows of zeros there, and the network goes by its own. min_length, max_length: digits in
    training of the longer number; name: which of the two programs teaches.
    """

    min_length: int = 1
    max_length: int = 20
    name: str = "addition"
    environment: str = "addition"
    activation: Activation = "sigmoid"
    unit: str = "digits"
    judged_by: Measured = "wrong_bits"
    test_lengths: tuple[int, ...] = (5, 10, 20, 50, 100)

    @property
    def layout(self) -> Layout:
        """The programs and the pad."""
        return LAYOUTS[self.environment]

    @property
    def units(self) -> tuple[str, ...]:
        """Digits are all that a sequence can have more of."""
        return (self.unit,)

    @property
    def input_size(self) -> int:
        """A decision, the flag of a typed row, and two digits."""
        return self.layout.input_size

    @property
    def output_size(self) -> int:
        """A decision, and the flags that say that the interpreter has come to its end."""
        return self.layout.output_size

    @property
    def form(self) -> dict[str, Any]:
        """Two numbers; where they go, where the sum is, and what rows mean."""
        told = {"numbers": ["first", "second"], "answer": {"tensor": "pad", "row": "out"}}
        return {"kind": "numbers", "environment": self.environment, **told, **self.layout.form}

    @property
    def train_lengths(self) -> tuple[int, int]:
        """Fewest and most digits that `sample` draws."""
        return self.min_length, self.max_length

    @property
    def stages(self) -> tuple[Task, ...]:
        """At most a quarter of the digits, half of them, all."""
        low, high = self.train_lengths
        tops = [max(low, high // part) for part in (4, 2)]
        return (*(msgspec.structs.replace(self, max_length=top) for top in tops), self)

    def sample(self, generator: Generator, batch: int) -> Batch:
        """One number of digits a batch, uniform over those of training; every decision told."""
        drawn = torch.randint(self.min_length, self.max_length + 1, (1,), generator=generator)
        return self.of_numbers(draw_numbers(generator, batch, int(drawn)), told=True)

    def at_length(self, generator: Generator, batch: int, length: int) -> Batch:
        """`length` digits of the longer number; nothing told but the numbers."""
        return self.of_numbers(draw_numbers(generator, batch, length), told=False)

    def of_numbers(self, numbers: list[list[list[int]]], told: bool) -> Batch:
        """The runs that add these numbers, each a list of digits, the first first."""
        layout, programs = self.layout, PROGRAMS[self.name]
        columns = [typed_columns(of) for of in numbers]
        runs = [trace(programs, layout, len(typed), typed)[0] for typed in columns]
        return batch_of(layout, columns, runs, told)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy of a decision's flags, in nats. logits: (B, T, Y)."""
        return binary_loss(logits, batch)

    def measures(self, logits: Tensor, batch: Batch) -> Measures:
        """Wrong flags and cross-entropy bits of a run, over all its ticks. logits: (B, T, Y)."""
        return binary_measures(logits, batch)

    def right(self, logits: Tensor, batch: Batch) -> Tensor:
        """1 for each run whose every decision was right, so its sum too, else 0: (B,)."""
        return decisions_right(self.layout, logits, batch)

    def optimum_bits(self, batch: Batch) -> Tensor:
        """Nothing: each decision follows from what is seen."""
        return torch.zeros(batch.inputs.shape[0])


def draw_numbers(generator: Generator, batch: int, length: int) -> list[list[list[int]]]:
    """Pairs of numbers of uniform digits, zeros in front too. Of every second pair, in the mean,
    both have `length` digits; of the others one has fewer, any number of them."""
    digits = torch.randint(10, (batch, 2, length), generator=generator).tolist()
    shorter = torch.randint(1, length + 1, (batch,), generator=generator).tolist()
    which = torch.randint(4, (batch,), generator=generator).tolist()  # 2, 3: neither
    for pair, fewer, one in zip(digits, shorter, which, strict=True):
        if one < 2:
            pair[one] = pair[one][length - fewer :]
    return digits


def recursive_addition() -> Addition:
    """The same numbers, added by the program that calls itself (Cai, Shi and Song 2017)."""
    return Addition(name="recursive-addition")
