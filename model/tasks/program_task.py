"""Running a program as a symbolic one does: the tasks of a neural programmer-interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import torch
from torch import Generator, Tensor

from model.families import Activation
from model.npi_interpreter import trace
from model.npi_layout import LAYOUTS, Layout
from model.tasks.problems import PROBLEMS, Typed
from model.tasks.programs import PROGRAMS
from model.tasks.task import Batch, Measured, Measures, Task, binary_loss, binary_measures
from model.tasks.traces import batch_of, decisions_right
from model.tasks.verification import Proof


class ProgramTask(msgspec.Struct, frozen=True):
    """Numbers are typed onto the pad, a row each step; then each row is a tick of a program that
    works on them, answered by what that program does next: `programs.py`.

    In training the rows tell each decision as well, so that what follows from it is seen; tests
    have rows of zeros there, and the network goes by its own. min_length, max_length: digits in
    training, of the longest number; name: which program teaches, environment: on which pad.
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
        """A decision, the flag of a typed row, and its digits."""
        return self.layout.input_size

    @property
    def output_size(self) -> int:
        """A decision, and the flags that say that the interpreter has come to its end."""
        return self.layout.output_size

    @property
    def form(self) -> dict[str, Any]:
        """Which numbers are asked for, where the answer will be, and what rows mean."""
        return {"kind": "numbers", "environment": self.environment, **self.layout.form}

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
        return self.of_problems(self._draw(generator, batch, int(drawn)), told=True)

    def at_length(self, generator: Generator, batch: int, length: int) -> Batch:
        """`length` digits of the longest number; nothing told but the numbers."""
        return self.of_problems(self._draw(generator, batch, length), told=False)

    def of_problems(self, problems: Sequence[Typed], told: bool) -> Batch:
        """The runs on pads onto which these rows of values have been typed."""
        layout, programs = self.layout, PROGRAMS[self.name]
        # A column more than was typed, for the last carry.
        runs = [trace(programs, layout, len(typed) + 1, typed)[0] for typed in problems]
        return batch_of(layout, problems, runs, told)

    def verification(self) -> Proof:
        """What proves a recursive program right. Raises ValueError for other programs."""
        return Proof(self.name, self.layout)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy of a decision's flags, in nats. logits: (B, T, Y)."""
        return binary_loss(logits, batch)

    def measures(self, logits: Tensor, batch: Batch) -> Measures:
        """Wrong flags and cross-entropy bits of a run, over all its ticks. logits: (B, T, Y)."""
        return binary_measures(logits, batch)

    def right(self, logits: Tensor, batch: Batch) -> Tensor:
        """1 for each run whose every decision was right, so its answer too, else 0: (B,)."""
        return decisions_right(self.layout, logits, batch)

    def optimum_bits(self, batch: Batch) -> Tensor:
        """Nothing: each decision follows from what is seen."""
        return torch.zeros(batch.inputs.shape[0])

    def _draw(self, generator: Generator, batch: int, length: int) -> list[Typed]:
        return PROBLEMS[self.environment](generator, batch, length)


def recursive_addition() -> ProgramTask:
    """The same numbers, added by the program that calls itself (Cai, Shi and Song 2017)."""
    return ProgramTask(name="recursive-addition")


def bubble_sort() -> ProgramTask:
    """Lists of digits, sorted (Reed and de Freitas 2016, sec. 4.2)."""
    return _sorting("bubble-sort", 12, (5, 10, 20))


def recursive_bubble_sort() -> ProgramTask:
    """The same lists, sorted by programs that call themselves (Cai, Shi and Song 2017)."""
    return _sorting("recursive-bubble-sort", 4, (2, 5, 10, 20))


def _sorting(name: str, longest: int, tested: tuple[int, ...]) -> ProgramTask:
    return ProgramTask(name=name, environment="sorting", max_length=longest, test_lengths=tested)
