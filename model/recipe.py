"""How a network is trained: every choice of a run, as one value that is kept with its results."""

import math
from typing import Any, Literal

import msgspec
import torch
from torch import nn

from model.tasks.task import VALIDATION_SEED

# A resumed run may change these: none has a part in what the next step computes.
FREE_FIELDS = (
    "steps",
    "patience",
    "out",
    "checkpoint_every",
    "log_every",
    "tensorboard",
    "threads",
    "test_sequences",
    "test_within",
)


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """One training run. The same recipe gives the same weights on the same machine."""

    task: str
    family: str = "ntm"
    network: dict[str, Any]
    name: str
    seed: int = 1
    start: str = ""  # folder of an entry whose weights are taken over where they fit
    population: int = 0  # networks trained side by side, of which the best is kept; 0: one alone
    steps: int = 20_000
    batch: int = 32
    optimizer: Literal["adam", "rmsprop"] = "adam"
    learning_rate: float = 1e-3
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    weight_decay: float = 0.0
    clip: float = 10.0  # norm of all gradients together
    clip_state: float = 0.0  # of an element of the state, between two rows; 0: none
    noise: float = 0.0  # deviation of Gaussian noise on each clipped gradient, at the first step
    entropy: float = 0.0  # taken off the loss for a nat of the network's entropy, at the first step
    # Added to the loss for each unit of memory change a step, summed over the slots. Rows that are
    # written without need harm nothing at the lengths of training and everything far past them.
    write_cost: float = 0.0
    ema: float = 0.0  # 0 keeps no average of the weights
    mixed: bool = False  # each sequence of a batch has a length of its own
    curriculum: float = 0.0  # nats a scored bit that end an easier stage; 0: the whole task at once
    eval_every: int = 500  # steps
    eval_sequences: int = 128
    target: float = 0.0  # of what the task is judged by: wrong or cross-entropy bits a sequence
    patience: int = 0  # evaluations in a row at or below target; 0 trains all steps
    select_lengths: tuple[int, ...] = ()
    select_sequences: int = 32
    test_sequences: int = 100  # a length, at the end
    test_within: int = 1000  # over the lengths of training, at the end; 0: none
    data: str = ""  # folder of the data of a task that is made of some; "": the repository's
    out: str
    checkpoint_every: int = 500  # steps
    log_every: int = 100  # steps
    tensorboard: bool = False  # also an event file in out/tensorboard
    compile: Literal["auto", "on", "off", "graphs"] = "auto"
    device: str = "cpu"
    threads: int = 1

    def __post_init__(self) -> None:
        counts = ("steps", "batch", "eval_every", "eval_sequences", "select_sequences")
        intervals = ("checkpoint_every", "log_every", "threads", "test_sequences")
        for field in (*counts, *intervals):
            _require(field, getattr(self, field) >= 1, "at least 1", getattr(self, field))
        several = self.population == 0 or self.population >= 2
        _require("population", several, "0, or at least 2", self.population)
        _require("patience", self.patience >= 0, "at least 0", self.patience)
        _require("test_within", self.test_within >= 0, "at least 0", self.test_within)
        _require("clip", self.clip > 0, "above 0", self.clip)
        _require("learning_rate", self.learning_rate > 0, "above 0", self.learning_rate)
        for field in ("clip_state", "noise", "entropy"):
            _require(field, getattr(self, field) >= 0, "at least 0", getattr(self, field))
        _require("write_cost", self.write_cost >= 0, "at least 0", self.write_cost)
        _require("curriculum", self.curriculum >= 0, "at least 0", self.curriculum)
        _require("ema", 0 <= self.ema < 1, "at least 0 and below 1", self.ema)
        if self.compile == "graphs" and not self.device.startswith("cuda"):
            raise ValueError(f"compile: graphs are a CUDA device's, got device {self.device!r}")
        in_range = 0 <= self.seed < VALIDATION_SEED
        _require("seed", in_range, f"at least 0 and below {VALIDATION_SEED}", self.seed)


def _require(field: str, holds: bool, expected: str, got: float) -> None:
    if not holds:
        raise ValueError(f"{field} must be {expected}, got {got}")


def make_optimizer(recipe: Recipe, *networks: nn.Module) -> torch.optim.Optimizer:
    """The recipe's optimizer over the networks' parameters, a group for each network.

    RMSProp is in the form of Graves 2013 as the public implementations run it: decay 0.95 of
    the mean square, momentum 0.9. Weight decay is decoupled (AdamW) for Adam.
    """
    rate, decay = recipe.learning_rate, recipe.weight_decay
    groups = [{"params": list(network.parameters())} for network in networks]
    if recipe.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, rate, alpha=0.95, momentum=0.9, weight_decay=decay)
    if decay:
        return torch.optim.AdamW(groups, rate, weight_decay=decay)
    return torch.optim.Adam(groups, rate)


def learning_rate_at(recipe: Recipe, step: int) -> float:
    """The learning rate of step 1 .. steps; linear and cosine end just above 0."""
    done = (step - 1) / recipe.steps
    if recipe.schedule == "linear":
        return recipe.learning_rate * (1 - done)
    if recipe.schedule == "cosine":
        return recipe.learning_rate * (1 + math.cos(math.pi * done)) / 2
    return recipe.learning_rate


def fading(step: int, half: float) -> float:
    """1 at step 1, down to a half after `half` steps more, and on like 1 / step."""
    return half / (half + step - 1)


def check_same(kept: Recipe, asked: Recipe) -> None:
    """Raises ValueError where `asked` would not continue the run `kept` began."""
    free = set(FREE_FIELDS) if kept.schedule == "constant" else set(FREE_FIELDS) - {"steps"}
    for field in kept.__struct_fields__:
        old, new = getattr(kept, field), getattr(asked, field)
        if field not in free and old != new:
            raise ValueError(f"cannot resume: {field} was {old!r} in the checkpoint, got {new!r}")
