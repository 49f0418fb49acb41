"""One-shot classification of Omniglot's characters (Santoro et al. 2016, sec. 4.2)."""

import math
from typing import Any, Literal

import msgspec
import torch
from torch import Generator, Tensor
from torch.nn import functional

from model.families import Activation
from model.omniglot import DRAWERS, Omniglot, load
from model.tasks.task import Batch, Measured, Measures, Split, Task


class FewShot(msgspec.Struct, frozen=True):
    """See drawings of `ways` characters, some instances of each in random order, and name each by
    its label. A character's label is new in each sequence, and told after its drawing: by its
    second drawing it can be known.

    told: "before", as in the paper, with the drawing that follows, which is to be named itself;
    "with": in a row of its own, with the same drawing once more, so two rows a drawing.

    shown: characters of a sequence, 0: as many as there are labels; instances: of each, in
    training; side: pixels of a drawing; turn: degrees, and shift: pixels, that a drawing of
    training is at most turned and moved by; validation, test: alphabets that training never shows
    (test: where the dataset has no evaluation set of its own); split: which of the three is drawn
    from; data: folder of other sets, see model/omniglot.py.
    """

    ways: int = 5
    shown: int = 0
    instances: int = 10
    side: int = 20
    turn: float = 15.0
    shift: float = 2.0
    validation: tuple[str, ...] = ("Tagalog",)
    test: tuple[str, ...] = ("Balinese", "Early_Aramaic")
    split: Split = "training"
    data: str = ""
    told: Literal["before", "with"] = "before"
    name: str = "few-shot"
    activation: Activation = "softmax"
    unit: Literal["instances"] = "instances"
    judged_by: Measured = "wrong_bits"
    test_lengths: tuple[int, ...] = (10, 20)

    @property
    def units(self) -> tuple[str, ...]:
        """What evaluation can count."""
        return ("instances",)

    @property
    def input_size(self) -> int:
        """The drawing, and the label that is told with it, one hot."""
        return self.side**2 + self.ways

    @property
    def output_size(self) -> int:
        """How likely each label is."""
        return self.ways

    @property
    def form(self) -> dict[str, Any]:
        """A drawing row by row, 0 paper and 1 ink, then one hot the label that is told with it."""
        side = {"height": self.side, "width": self.side}
        return {"kind": "glyph", **side, "labels": self.ways, "told": self.told, "answer": "label"}

    @property
    def train_lengths(self) -> tuple[int, int]:
        """Training has one length."""
        return (self.instances, self.instances)

    @property
    def stages(self) -> tuple[Task, ...]:
        """Two characters, half of them, all; only with all are drawings moved. With two there is
        little to tell apart, and much to gain by it. With fewer instances instead, networks learn
        to count what is left."""
        still = msgspec.structs.replace(self, turn=0.0, shift=0.0)
        fewer = sorted({min(2, self.ways), (self.ways + 1) // 2})
        return (*(msgspec.structs.replace(still, shown=count) for count in fewer), self)

    @property
    def characters(self) -> int:
        """Characters of a sequence."""
        return self.shown or self.ways

    def drawn_for(self, split: Split) -> "FewShot":
        """The same task with the characters of `split`; only in training are drawings moved."""
        return msgspec.structs.replace(self, split=split)

    def sample(self, generator: Generator, batch: int) -> Batch:
        """As many instances of each character as in training."""
        return self.at_length(generator, batch, self.instances)

    def at_length(self, generator: Generator, batch: int, length: int) -> Batch:
        """`length` instances of each character: T = characters * length rows, all scored; twice
        as many, and every other scored, where labels are told with their drawings.

        Raises ValueError for more than there are drawers, for a split with fewer characters than
        ways, and what loading the data raises.
        """
        if not 1 <= length <= DRAWERS:
            raise ValueError(f"instances must be 1 to {DRAWERS}, got {length}")
        data = load(self.data)
        characters = self._characters(data)
        order = torch.rand(batch, self.characters * length, generator=generator).argsort(dim=1)
        which, instance = order // length, order % length
        dealt = torch.rand(batch, self.ways, generator=generator).argsort(dim=1)
        label = dealt.gather(1, which)
        chosen = torch.rand(batch, len(characters), generator=generator).argsort(dim=1)
        character = characters[chosen[:, : self.ways]].gather(1, label)
        drawers = torch.rand(batch, self.ways, DRAWERS, generator=generator).argsort(dim=2)
        drawer = drawers.flatten(1).gather(1, label * DRAWERS + instance)
        quarter = torch.randint(4, (batch, self.ways), generator=generator).gather(1, label)
        drawn = data.drawings[character, drawer].float() / 255
        images = placed(drawn, self.side, *self._placement(generator, quarter)).flatten(2)
        targets = functional.one_hot(label, self.ways).float()
        asked = torch.ones(label.shape, dtype=torch.bool)
        if self.told == "with":
            return _asked_then_told(images, targets, asked)
        told = functional.pad(targets[:, :-1], (0, 0, 1, 0))  # a row late
        return Batch(torch.cat([images, told], dim=2), targets, asked)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy of the labels in the scored rows, in nats. logits: (B, T, Y)."""
        return functional.cross_entropy(logits[batch.mask], batch.targets[batch.mask])

    def measures(self, logits: Tensor, batch: Batch) -> Measures:
        """Wrong labels (each counts as one bit), the largest output being the answer, and
        cross-entropy bits of the labels, a sequence. logits: (B, T, Y)."""
        wrong = _wrong(logits, batch)
        nats = -(torch.log_softmax(logits, dim=2) * batch.targets).sum(dim=2) * batch.mask
        return Measures(wrong.sum(dim=1).to(logits.dtype), nats.sum(dim=1) / math.log(2))

    def at_instances(self, logits: Tensor, batch: Batch) -> Tensor:
        """Share of the characters named right at their 1st, 2nd, ... drawing: (B, instances)."""
        number = (batch.targets.cumsum(dim=1) * batch.targets).sum(dim=2)  # from 1; 0: not scored
        most = int(number.max())
        nth = functional.one_hot(number.long(), most + 1)[:, :, 1:].to(logits)
        right = nth * (~_wrong(logits, batch)).unsqueeze(2)
        return right.sum(dim=1) / nth.sum(dim=1)

    def optimum_bits(self, batch: Batch) -> Tensor:
        """The first drawing of each character has one of the labels left: log2(ways!) for all."""
        left = self.ways - self.characters
        bits = (math.lgamma(self.ways + 1) - math.lgamma(left + 1)) / math.log(2)
        return torch.full((batch.inputs.shape[0],), bits)

    def _characters(self, data: Omniglot) -> Tensor:
        """Indices of the split's characters: (C',)."""
        own = any(data.evaluation)
        tested = data.evaluation if own else [name in self.test for name in data.alphabets]
        found: list[int] = []
        for index, (name, testing) in enumerate(zip(data.alphabets, tested, strict=True)):
            validating = name in self.validation
            part = "test" if testing else "validation" if validating else "training"
            if part == self.split:
                found.append(index)
        if len(found) < self.ways:
            raise ValueError(
                f"{self.split} needs at least {self.ways} characters, has {len(found)}"
            )
        return torch.tensor(found)

    def _placement(self, generator: Generator, quarter: Tensor) -> tuple[Tensor, Tensor]:
        """Angles (B, T) in radians, shifts (B, T, 2) in pixels."""
        angle = quarter * (math.pi / 2)
        if self.split != "training":
            return angle, torch.zeros(*quarter.shape, 2)
        turn = 2 * torch.rand(quarter.shape, generator=generator) - 1
        shift = 2 * torch.rand(*quarter.shape, 2, generator=generator) - 1
        return angle + turn * math.radians(self.turn), shift * self.shift


def _asked_then_told(images: Tensor, targets: Tensor, asked: Tensor) -> Batch:
    """Two rows a drawing: it alone, which is scored, and it with its label."""
    nothing = torch.zeros_like(targets)
    alone, with_label = (torch.cat([images, told], dim=2) for told in (nothing, targets))
    pairs = ((alone, with_label), (targets, nothing), (asked, ~asked))
    return Batch(*(torch.stack(pair, dim=2).flatten(1, 2) for pair in pairs))


def placed(drawings: Tensor, side: int, angle: Tensor, shift: Tensor) -> Tensor:
    """Drawings turned about their middle, then moved, at `side` pixels; beyond them is paper.

    drawings: (B, T, S, S); angle: (B, T), radians counter-clockwise; shift: (B, T, 2), to the right
    and down, in pixels of the result. Returns (B, T, side, side).
    """
    cos, sin = angle.cos(), angle.sin()
    moved = shift * (2 / side)  # grids are from -1 to 1
    right, down = moved.unbind(dim=2)
    # From a place in the result to the one in the drawing: the shift is undone, then the turn.
    first = torch.stack([cos, -sin, sin * down - cos * right], dim=2)
    second = torch.stack([sin, cos, -sin * right - cos * down], dim=2)
    turns = torch.stack([first, second], dim=2).flatten(0, 1)
    # Twice as fine, then the mean of four: a pixel is the ink on all of it, no stroke is missed.
    fine = [turns.shape[0], 1, 2 * side, 2 * side]
    grid = functional.affine_grid(turns, fine, align_corners=False)
    sampled = functional.grid_sample(
        drawings.flatten(0, 1).unsqueeze(1), grid, mode="bilinear", align_corners=False
    )
    return functional.avg_pool2d(sampled, 2).view(*angle.shape, side, side)


def _wrong(logits: Tensor, batch: Batch) -> Tensor:
    """(B, T), bool: scored rows whose largest output is not the label."""
    return (logits.argmax(dim=2) != batch.targets.argmax(dim=2)) & batch.mask
