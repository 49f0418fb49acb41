"""Eyes for a network: a convolution that makes a short vector of the drawing in each row."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from model import sequences
from model.families import Network
from model.sizes import require_positive
from model.state import StateSpec
from model.tasks.task import Batch

EMBEDDING = 64  # numbers that a drawing becomes
PAPER = 0.1  # what a pixel is taken from: about the mean of a drawing
CONTRAST = 4.0  # of the first layer, whose pixels are few and small
SHARPNESS = 10.0  # of the softmax over likenesses


class GlyphEncoder(nn.Module):
    """A drawing of side x side pixels as EMBEDDING numbers of mean 0 and variance 1."""

    def __init__(self, side: int) -> None:
        super().__init__()
        require_positive(image_side=side)
        self.side = side
        self.first = nn.Conv2d(1, 16, 3, stride=2, padding=1)
        self.second = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.third = nn.Conv2d(32, 32, 3, padding=1)
        left = (side + 3) // 4
        self.output = nn.Linear(32 * left * left, EMBEDDING)

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels: (B, side * side), 0 paper and 1 ink. Returns (B, EMBEDDING)."""
        drawn = pixels.unflatten(1, (1, self.side, self.side)) - PAPER
        seen = torch.relu(CONTRAST * self.first(drawn))
        seen = torch.relu(self.third(torch.relu(self.second(seen))))
        return functional.layer_norm(self.output(seen.flatten(1)), (EMBEDDING,))


class Sighted(nn.Module):
    """A network whose rows begin with a drawing: it is given the drawing's vector in its place.

    inner: the network, which takes EMBEDDING numbers and then what follows the drawing;
    image_side: pixels of the drawing, each way; input_size: X of a row as it comes. Family, state
    and trace are the inner network's.
    """

    def __init__(self, inner: Network, image_side: int, input_size: int) -> None:
        super().__init__()
        self.eyes = GlyphEncoder(image_side)
        self.inner = inner
        self.pixels, self.input_size = image_side**2, input_size
        self.family, self.output_size = inner.family, inner.output_size

    @property
    def state_spec(self) -> StateSpec:
        """The inner network's."""
        return self.inner.state_spec

    @property
    def trace_spec(self) -> StateSpec:
        """The inner network's."""
        return self.inner.trace_spec

    def initial_state(self, batch: int) -> Any:
        """The inner network's, for B rows."""
        return self.inner.initial_state(batch)

    def look(self, rows: Tensor) -> Tensor:
        """Rows as the inner network is given them. rows: (..., X). Returns (..., X')."""
        flat = rows.reshape(-1, self.input_size)
        seen = torch.cat([self.eyes(flat[:, : self.pixels]), flat[:, self.pixels :]], dim=1)
        return seen.view(*rows.shape[:-1], -1)

    def step_traced(self, x: Tensor, state: Any) -> tuple[Tensor, Any, Any]:
        """x: (B, X). Returns logits (B, Y), the next state and the inner network's trace."""
        return self.inner.step_traced(self.look(x), state)

    def step(self, input_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        """input_t: (B, X). Returns logits (B, Y) and the next state.

        Raises ValueError for other dims, and for rows that are not as many as the state's.
        """
        if input_t.dim() != 2 or input_t.shape[1] != self.input_size:
            expected = f"(B, {self.input_size})"
            raise ValueError(f"input_t must be {expected}, got {tuple(input_t.shape)}")
        return self.inner.step(self.look(input_t), state)

    def forward(self, inputs: Tensor) -> Tensor:
        """A whole sequence from fresh state. inputs: (B, T, X). Returns logits (B, T, Y)."""
        return sequences.run(cast(Network, self), inputs)[0]

    def likeness_loss(self, seen: Tensor, batch: Batch) -> Tensor:
        """What teaches the eyes alone: that each drawing is most like another of its character.

        -log of the share of the softmax over all other drawings of its sequence, by SHARPNESS
        times their cosine, that those of its label have (Khosla et al. 2020, arXiv 2004.11362,
        eq. 3 with the sum inside). Without it memory and eyes wait for each other: as long as no
        drawing is told from another, nothing is to be gained by keeping them.
        seen: (B, T, X'), from `look`. The scored rows of each sequence must be equally many.
        """
        rows = seen.shape[0]
        drawn = seen[batch.mask][:, :EMBEDDING].unflatten(0, (rows, -1))
        labels = batch.targets[batch.mask].argmax(dim=1).unflatten(0, (rows, -1))
        unit = functional.normalize(drawn, dim=2)
        itself = torch.eye(unit.shape[1], dtype=torch.bool, device=unit.device)
        alike = (SHARPNESS * unit @ unit.mT).masked_fill(itself, -torch.inf)
        same = (labels.unsqueeze(2) == labels.unsqueeze(1)) & ~itself
        right = alike.masked_fill(~same, -torch.inf).logsumexp(dim=2)
        told = alike.logsumexp(dim=2) - right
        return told[same.any(dim=2)].mean()
