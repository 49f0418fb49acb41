"""A family of the tests' own, and a task for it: what somebody adds who brings a new network."""

from typing import Any, NamedTuple

import msgspec
import torch
from torch import Generator, Tensor, nn

from model import sequences
from model.state import StateSpec, TensorSpec
from model.tasks.task import Batch, Measured, Measures, Task, binary_loss, binary_measures


class RingState(NamedTuple):
    """What a ring carries: its tape, and where its head is."""

    memory: Tensor  # (B, N, M)
    write_weights: Tensor  # (B, 1, N)


class Ring(nn.Module):
    """A tape whose head moves on by one slot a row, and an output that sees all of it."""

    family = "ring"

    def __init__(self, input_size: int, output_size: int, slots: int, width: int) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, output_size
        self.slots, self.width = slots, width
        self.put = nn.Linear(input_size, width)
        self.output = nn.Linear(slots * width, output_size)

    @property
    def state_spec(self) -> StateSpec:
        """Names, dims and roles."""
        return (
            TensorSpec("memory", (self.slots, self.width), "memory"),
            TensorSpec("write_weights", (1, self.slots), "write_weights"),
        )

    @property
    def trace_spec(self) -> StateSpec:
        """What is added."""
        return (TensorSpec("write_add", (1, self.width), "add"),)

    def initial_state(self, batch: int) -> RingState:
        """An empty tape, the head at its end."""
        weights = torch.zeros(batch, 1, self.slots)
        weights[:, :, -1] = 1
        return RingState(torch.zeros(batch, self.slots, self.width), weights)

    def step_traced(self, x: Tensor, state: RingState) -> tuple[Tensor, RingState, tuple[Tensor]]:
        """x: (B, X). The slot that the head comes to is overwritten."""
        weights = torch.cat([state.write_weights[..., -1:], state.write_weights[..., :-1]], dim=2)
        added, there = torch.tanh(self.put(x)).unsqueeze(1), weights.transpose(1, 2)
        memory = (1 - there) * state.memory + there * added
        seen = torch.bmm(_turned(weights), memory)  # as it lies seen from the head
        return self.output(seen.flatten(1)), RingState(memory, weights), (added,)

    def step(self, input_t: Tensor, state: RingState) -> tuple[Tensor, RingState]:
        """input_t: (B, X). Returns logits (B, Y) and the next state."""
        y, following, _ = self.step_traced(input_t, state)
        return y, following

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs: (B, T, X). Returns logits (B, T, Y)."""
        return sequences.run(self, inputs)[0]


def _turned(weights: Tensor) -> Tensor:
    """(B, N, N): in line n the weights as they were n rows ago."""
    lines = [weights]
    for _ in range(weights.shape[2] - 1):
        lines.append(torch.cat([lines[-1][..., 1:], lines[-1][..., :1]], dim=2))
    return torch.cat(lines, dim=1)


class Echo(msgspec.Struct, frozen=True):
    """Say the bits of `late` rows ago."""

    width: int = 3
    late: int = 2
    name: str = "echo"
    activation: Any = "sigmoid"
    unit: str = "rows"
    judged_by: Measured = "wrong_bits"
    test_lengths: tuple[int, ...] = (9,)
    train_lengths: tuple[int, int] = (5, 9)

    @property
    def units(self) -> tuple[str, ...]:
        """Rows."""
        return (self.unit,)

    @property
    def input_size(self) -> int:
        """The bits."""
        return self.width

    output_size = input_size

    @property
    def form(self) -> dict[str, Any]:
        """Bits without flags."""
        return {"kind": "bits", "width": self.width, "flags": []}

    @property
    def stages(self) -> tuple[Task, ...]:
        """At once."""
        return (self,)

    def sample(self, generator: Generator, batch: int) -> Batch:
        """Sequences of the longest length."""
        return self.at_length(generator, batch, self.train_lengths[1])

    def at_length(self, generator: Generator, batch: int, length: int) -> Batch:
        """The first rows have no echo, and are not scored."""
        bits = torch.randint(0, 2, (batch, length, self.width), generator=generator).float()
        scored = torch.arange(length).expand(batch, -1) >= self.late
        return Batch(bits, bits.roll(self.late, 1) * scored.unsqueeze(2), scored)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy."""
        return binary_loss(logits, batch)

    def measures(self, logits: Tensor, batch: Batch) -> Measures:
        """Wrong bits and cross-entropy bits."""
        return binary_measures(logits, batch)

    def optimum_bits(self, batch: Batch) -> Tensor:
        """None."""
        return torch.zeros(batch.inputs.shape[0])
