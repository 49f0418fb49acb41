"""Dynamic N-grams (Graves, Wayne and Danihelka 2014, section 4.4)."""

import math
from typing import Any

import msgspec
import torch
from torch import Generator, Tensor
from torch.nn import functional

from model.families import Activation
from model.tasks.task import Batch, Measured, Measures, Task, binary_loss, binary_measures


class NGram(msgspec.Struct, frozen=True):
    """Predict each bit from those before it, in sequences that each follow a table of their own:
    the probability of a 1 after each context of `order - 1` bits, drawn from Beta(1/2, 1/2).

    order: 6 in the paper, so 32 probabilities; bits: of a sequence. All of them are scored, the
    first ones too, which nobody can predict: each costs 1 bit.
    """

    order: int = 6
    bits: int = 200
    name: str = "ngram"
    activation: Activation = "sigmoid"
    unit: str = "bits"
    judged_by: Measured = "cross_entropy_bits"
    test_lengths: tuple[int, ...] = (200,)

    @property
    def units(self) -> tuple[str, ...]:
        """Bits are all that a sequence can have more of."""
        return (self.unit,)

    @property
    def input_size(self) -> int:
        """The bit before."""
        return 1

    @property
    def output_size(self) -> int:
        """The bit to come."""
        return 1

    @property
    def form(self) -> dict[str, Any]:
        """One bit a row; the first row is 0."""
        return {"kind": "bits", "width": 1, "flags": []}

    @property
    def train_lengths(self) -> tuple[int, int]:
        """All sequences are of one length."""
        return self.bits, self.bits

    @property
    def stages(self) -> tuple[Task, ...]:
        """Contexts of one bit, of two, and so on, up to the whole."""
        return tuple(
            msgspec.structs.replace(self, order=n)
            for n in range(min(2, self.order), self.order + 1)
        )

    def sample(self, generator: Generator, batch: int) -> Batch:
        """Sequences of `bits` bits."""
        return self.at_length(generator, batch, self.bits)

    def at_length(self, generator: Generator, batch: int, length: int) -> Batch:
        """Row t asks for bit t, t = 0 .. length - 1, and shows bit t - 1, in row 0 nothing (0).

        Returns inputs (B, length, 1), targets (B, length, 1), mask, all of it scored.
        Raises ValueError for fewer bits than `order`, of which none could be predicted.
        """
        if length < self.order:
            raise ValueError(f"bits must be at least {self.order}, got {length}")
        uniform = torch.rand(batch, 2 ** (self.order - 1), generator=generator)
        table = torch.sin(uniform * (math.pi / 2)).square()  # the arcsine law is Beta(1/2, 1/2)
        draws = torch.rand(batch, length, generator=generator)
        targets = draw_bits(table, draws, self.order - 1).unsqueeze(2)
        inputs = functional.pad(targets[:, :-1], (0, 0, 1, 0))
        return Batch(inputs, targets, torch.ones(batch, length, dtype=torch.bool))

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy of the bits, in nats. logits: (B, T, 1)."""
        return binary_loss(logits, batch)

    def measures(self, logits: Tensor, batch: Batch) -> Measures:
        """Bits guessed wrong, and cross-entropy bits, over all bits. logits: (B, T, 1)."""
        return binary_measures(logits, batch)

    def optimum_bits(self, batch: Batch) -> Tensor:
        """What the best estimator without the table pays, over the scored bits: (B,).

        After a context it says P(1) = (N1 + 1/2) / (N1 + N0 + 1), where N1 and N0 are how often
        a 1 and a 0 have come after it so far (eq. 10).
        """
        bits = batch.targets[:, :, 0].cpu()
        first = self.order - 1
        cost = torch.ones_like(bits)
        cost[:, first:] = -torch.log2(estimate(bits, first))
        return (cost * batch.mask.cpu()).sum(dim=1)


def draw_bits(table: Tensor, draws: Tensor, context: int) -> Tensor:
    """Bits that follow `table`, the first `context` of them fair.

    table: (B, 2^context), probability of a 1 after each context, its oldest bit the highest;
    draws: (B, T), uniform in [0, 1). Returns (B, T), 0 or 1.
    """
    bits = (draws < 0.5).long()
    places = 2 ** torch.arange(context - 1, -1, -1)
    state = (bits[:, :context] * places).sum(dim=1)
    for t in range(context, draws.shape[1]):
        chance = table.gather(1, state.unsqueeze(1)).squeeze(1)
        bits[:, t] = draws[:, t] < chance
        state = (2 * state + bits[:, t]) % table.shape[1]
    return bits.float()


def estimate(bits: Tensor, context: int) -> Tensor:
    """The optimal estimator's probability of the bit that came, from those before it.

    bits: (B, T), 0 or 1. Returns (B, T - context), in (0, 1).
    """
    whole = bits.long()
    windows = whole.unfold(1, context, 1)[:, :-1]  # (B, T - context, context)
    contexts = (windows * 2 ** torch.arange(context - 1, -1, -1)).sum(dim=2)
    came = whole[:, context:]
    seen = functional.one_hot(contexts, 2**context)
    same = functional.one_hot(2 * contexts + came, 2 ** (context + 1))
    before = (seen.cumsum(dim=1) - seen).gather(2, contexts.unsqueeze(2)).squeeze(2)
    alike = (same.cumsum(dim=1) - same).gather(2, (2 * contexts + came).unsqueeze(2)).squeeze(2)
    return (alike + 0.5) / (before + 1)
