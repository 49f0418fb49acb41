"""A problem on a tape as a task: the machine begins with the tape, makes steps, and halts."""

import math
from typing import Any, cast

import msgspec
import torch
from torch import Generator, Tensor
from torch.nn import functional

from model.families import Activation
from model.modules14 import CONSTANTS, MODULES
from model.tasks.tape_problems import PROBLEMS, Problem
from model.tasks.task import Batch, BegunBatch, Measured, Measures, Task

LEAST = 1e-6  # a probability below counts as this: no logarithm without end
# Integers beyond the cells a tape needs: 0 to SPARE - 1, drawn for each batch. With at most 2, a
# machine left a number where its own copy would come, and failed on longer tapes.
SPARE = 9
WHEN = 1.0  # what a nat of when to halt counts in the entropy, beside a nat of a choice
# What a cell that shall stay as it is counts in the loss, beside one that is to be changed. Where
# all count alike, a write past the end of an array costs what an element brings: then a loop over
# the array, which at first does not know where to end, is worse than constants that suit the
# smallest sizes, and is seldom found. What is left still teaches it where to end.
ELSEWHERE = 0.1
EASIEST = 2  # difficulty to begin with: two constants are a program for all arrays of one element
WIDER = 3  # any size of training is one of up to so many more than D, until D is the most
HALTS = 0.5  # the willingness at which a machine that is watched has halted
WILLING, ENTROPY = 0, 2  # places in y


class TapeTask(msgspec.Struct, frozen=True):
    """Tapes of a problem, after the curriculum of Kurach et al. 2016, section 4.3.

    name: of the problem; difficulty: D of the sizes that training draws, 0: the most; longest: no
    size of training is above it, 0: the paper's.
    """

    name: str
    difficulty: int = 0
    longest: int = 0
    activation: Activation = "none"
    unit: str = "elements"
    judged_by: Measured = "wrong_bits"
    test_lengths: tuple[int, ...] = (5, 10, 15, 20, 30, 50)
    input_size: int = 1
    output_size: int = 3

    @property
    def problem(self) -> Problem:
        """What the tapes are."""
        return PROBLEMS[self.name]

    @property
    def units(self) -> tuple[str, ...]:
        """Elements of the array alone."""
        return (self.unit,)

    @property
    def form(self) -> dict[str, Any]:
        """The tape a session is created with, cell by cell; the row that makes a step; where y
        tells that it has halted; where the answer lies then; how a step's circuit is read: the
        tensors of its choices (model/circuit.py), and the modules that they are for."""
        return {
            "kind": "tape",
            "state": "tape",
            "layout": list(self.problem.layout),
            "answer": self.problem.answer,
            "row": [1],
            "halted": {"output": 1, "from": HALTS},
            "circuit": {
                "arguments": "arguments",
                "sources": "sources",
                "modules": [[module.name, module.arguments] for module in MODULES],
                "constants": CONSTANTS,
            },
        }

    @property
    def train_lengths(self) -> tuple[int, int]:
        """Smallest and largest size of training."""
        return self.problem.smallest, self.longest or self.problem.longest

    @property
    def stages(self) -> tuple[Task, ...]:
        """One a difficulty, from EASIEST to the largest size."""
        low, high = self.train_lengths
        easier = [
            msgspec.structs.replace(self, difficulty=size)
            for size in range(max(low, EASIEST), high)
        ]
        return (*cast(list[Task], easier), self)

    def sample(self, generator: Generator, batch: int) -> Batch:
        """One size a batch: of 10% any up to D + WIDER, of 25% any up to D + e, else D + e, where e
        is geometric with mean 1, and no size is above those of training. The paper has any size of
        training in the 10%: what a young machine makes of the largest outweighs all else."""
        low, high = self.train_lengths
        kind = torch.rand(1, generator=generator).item()
        tosses = torch.rand(high, generator=generator) < 0.5
        harder = int(tosses.long().cumprod(dim=0).sum())
        reached = self.difficulty or high
        top = min(reached + harder, high)
        drawn = min(reached + WIDER, high) if kind < 0.1 else top
        size = int(torch.randint(low, drawn + 1, (1,), generator=generator))
        return self.at_length(generator, batch, size if kind < 0.35 else top)

    def at_length(self, generator: Generator, batch: int, length: int) -> Batch:
        """`batch` tapes of `length` elements and as many integers as cells, or up to 8 more.

        Returns inputs (B, T, 1), each a step; targets (B, T, 2, M), the same in each row: the right
        values, and 1 where a cell is what the problem is about; the first tape (B, M, M).
        Raises ValueError for a length below the problem's smallest.
        """
        problem = self.problem
        if length < problem.smallest:
            raise ValueError(f"length must be at least {problem.smallest}, got {length}")
        spare = int(torch.randint(0, SPARE, (1,), generator=generator))
        integers = max(3, problem.cells(length)) + spare
        tapes = problem.draw(generator, batch, length, integers)
        steps = problem.steps(length)
        targets = torch.stack([tapes.right, tapes.changed.long()], dim=1).unsqueeze(1)
        every = torch.ones(batch, steps, dtype=torch.bool)
        rows = Batch(torch.ones(batch, steps, 1), targets.expand(-1, steps, -1, -1), every)
        tape = functional.one_hot(tapes.given, integers).float()
        return BegunBatch.of(rows, {"tape": tape})

    def judged(self, y: Tensor, state: Any, targets: Tensor) -> Tensor:
        """f_t and the entropy, then of each cell log p(right), then whether it is likeliest.

        y: (B, 3), state.tape: (B, M, M), targets: (B, 2, M). Returns (B, 2 + 2 M).
        """
        right = targets[:, 0]
        probability = state.tape.gather(2, right.unsqueeze(2)).squeeze(2)
        hit = (state.tape.argmax(dim=2) == right).to(y.dtype)
        told = [y[:, WILLING : WILLING + 1], y[:, ENTROPY : ENTROPY + 1]]
        return torch.cat([*told, probability.clamp(min=LEAST).log(), hit], dim=1)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """-sum_t p_t sum_i w_i log M_t(i, y_i), the mean over tapes, for each cell to be changed.

        p_t = f_t prod_{i<t} (1 - f_i), and the last step takes what is left (paper, section 3.4).
        w_i = 1 of a cell to be changed, ELSEWHERE of the others.
        """
        changed = batch.targets[:, 0, 1].to(logits.dtype)
        weights = changed + ELSEWHERE * (1 - changed)
        return (_cost(logits, weights) / changed.sum(dim=1)).mean()

    def entropy(self, logits: Tensor) -> Tensor:
        """The mean entropy of a choice while a machine runs, and WHEN times that of the step in
        which it halts, in nats: until it knows what to write, every step makes its tape worse, and
        without the second it would learn to halt in the first. logits: (B, T, 2 + 2 M)."""
        ends, runs = halting(logits[:, :, 0]), running(logits[:, :, 0])
        choices = (runs * logits[:, :, 1]).sum() / runs.sum()
        when = -(ends * ends.clamp(min=LEAST).log()).sum(dim=1).mean()
        return choices + WHEN * when

    def measures(self, logits: Tensor, batch: Batch) -> Measures:
        """Wrong cells of the whole tape where the machine halts, and its expected -log2 p."""
        hit = _at_halt(logits)
        bits = _cost(logits, torch.ones_like(hit)) / math.log(2)
        return Measures((1 - hit).sum(dim=1), bits)

    def right(self, logits: Tensor, batch: Batch) -> Tensor:
        """The share of the cells to be changed that are right where the machine halts: (B,)."""
        changed = batch.targets[:, 0, 1]
        return (_at_halt(logits) * changed).sum(dim=1) / changed.sum(dim=1)

    def optimum_bits(self, batch: Batch) -> Tensor:
        """Nothing: the tape tells all."""
        return torch.zeros(batch.inputs.shape[0])


def halting(willing: Tensor) -> Tensor:
    """p_t: the probability to halt in step t and not before. willing: (B, T). Returns (B, T)."""
    last = torch.ones_like(willing[:, -1:])
    return running(willing) * torch.cat([willing[:, :-1], last], dim=1)


def running(willing: Tensor) -> Tensor:
    """The probability to make step t, not halted before. willing: (B, T). Returns (B, T)."""
    going = torch.cumprod(1 - willing[:, :-1], dim=1)
    return functional.pad(going, (1, 0), value=1.0)


def _cost(logits: Tensor, weights: Tensor) -> Tensor:
    """(B,), in nats: what each cell costs in the step that halts, by weights (B, M)."""
    logs = logits[:, :, 2 : 2 + weights.shape[1]]
    return -(halting(logits[:, :, 0]) * (logs * weights.unsqueeze(1)).sum(dim=2)).sum(dim=1)


def _at_halt(logits: Tensor) -> Tensor:
    """1 for each cell that is right in the step where f_t first comes to a half: (B, M)."""
    cells = (logits.shape[2] - 2) // 2
    halts = logits[:, :, 0] >= HALTS
    halts[:, -1] = True
    when = halts.long().argmax(dim=1)
    return logits[torch.arange(len(when)), when, 2 + cells :]
