"""The memory-augmented network of Santoro et al. 2016 (arXiv 1605.06065): MANN."""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from model import lrua, sequences
from model.controllers import ControllerKind, ControllerState, NTMController
from model.dnc_content import content_weights
from model.memory import MemoryBank, MemoryInit
from model.sizes import require_positive
from model.state import StateSpec, TensorSpec
from model.usage import order_margin

# A key's strength at first, about: enough to tell one slot from dozens that are unlike the key.
FIRST_STRENGTH = 5.0
# First weights, in units of a linear layer's own: of the keys, so that they fill (-1, 1) rather
# than be all alike, and of the output. With 1 and 1 a network does not learn in 1,000 steps the
# recall of a label that it learns in 200 with these.
FIRST_KEYS, FIRST_OUTPUTS = 5.0, 3.0


class MANNState(NamedTuple):
    """All a MANN carries from one step to the next."""

    memory: Tensor  # (B, N, M)
    usage: Tensor  # (B, N), w^u
    read_weights: Tensor  # (B, R, N)
    write_weights: Tensor  # (B, R, N)
    reads: Tensor  # (B, R, M)
    controller: ControllerState


class MANNHeads(NamedTuple):
    """What the R heads are given; each reads, and each writes."""

    key: Tensor  # k (B, R, M), in (-1, 1)
    gate: Tensor  # sigma(alpha) (B, R, 1), in (0, 1): how much goes where the head has read
    strength: Tensor | None  # (B, R, 1), >= 1, where keys have one
    add: Tensor | None  # (B, R, M), in (-1, 1), where what is written is not the key


class MANN(sequences.Stepped[MANNState]):
    """A controller with R heads on an N x M memory, which write to the least used slots.

    input_size: X, output_size: Y, memory_size: N, memory_width: M, controller_size: H.
    usage_decay: gamma. `forward` returns logits. Not of the paper, each off by itself:
    key_strength gives each key a learned strength, as an NTM's has, so that a head can look at one
    slot alone; separate_add lets a head write something else than the key it looks for.
    Raises ValueError for sizes and names that make no machine.
    """

    family = "mann"

    def __init__(
        self,
        input_size: int,
        output_size: int,
        memory_size: int,
        memory_width: int,
        *,
        controller: ControllerKind = "lstm",
        controller_size: int = 100,
        controller_layers: int = 1,
        read_heads: int = 1,
        memory_init: MemoryInit = "constant",
        usage_decay: float = 0.99,
        key_strength: bool = False,
        separate_add: bool = False,
    ) -> None:
        super().__init__()
        require_positive(input_size=input_size, output_size=output_size)
        require_positive(read_heads=read_heads)
        if read_heads > memory_size or not 0 <= usage_decay < 1:
            raise ValueError(
                f"read_heads must be at most memory_size {memory_size} and usage_decay in [0, 1), "
                f"got {read_heads} and {usage_decay}"
            )
        self.input_size, self.output_size = input_size, output_size
        self.read_heads, self.usage_decay = read_heads, usage_decay
        self.key_strength, self.separate_add = key_strength, separate_add
        self.bank = MemoryBank(memory_size, memory_width, memory_init)
        self.controller = NTMController(
            controller, input_size, controller_size, read_heads, memory_width, controller_layers
        )
        self.heads = nn.Linear(controller_size, read_heads * sum(self._sizes))
        self.output = nn.Linear(controller_size + read_heads * memory_width, output_size)
        self._begin()
        # A constant, so in no file of weights.
        self.register_buffer("margin", order_margin(memory_size), persistent=False)

    @torch.no_grad()
    def _begin(self) -> None:
        width = self.bank.memory_width
        weights = self.heads.weight.unflatten(0, (self.read_heads, -1))
        weights[:, :width] *= FIRST_KEYS
        self.output.weight *= FIRST_OUTPUTS
        if self.key_strength:
            biases = self.heads.bias.unflatten(0, (self.read_heads, -1))
            biases[:, width + 1] = FIRST_STRENGTH - 1

    @property
    def _sizes(self) -> list[int]:
        width = self.bank.memory_width
        return [width, 1, *([1] if self.key_strength else []), *([width] * self.separate_add)]

    @property
    def state_spec(self) -> StateSpec:
        """Names, dims and roles of the state, in the order `flatten` gives its tensors."""
        slots, width, heads = self.bank.memory_size, self.bank.memory_width, self.read_heads
        return (
            TensorSpec("memory", (slots, width), "memory"),
            TensorSpec("usage", (slots,), "usage"),
            TensorSpec("read_weights", (heads, slots), "read_weights"),
            TensorSpec("write_weights", (heads, slots), "write_weights"),
            TensorSpec("reads", (heads, width), "read_vectors"),
            *self.controller.state_spec,
        )

    @property
    def trace_spec(self) -> StateSpec:
        """Names, dims and roles of what `step_traced` tells, in order."""
        heads, width = self.read_heads, self.bank.memory_width
        strength = (TensorSpec("read_strength", (heads, 1), "strength"),)
        add = (TensorSpec("write_add", (heads, width), "add"),)
        return (
            TensorSpec("read_key", (heads, width), "key"),
            TensorSpec("write_gate", (heads, 1), "gate"),
            *(strength if self.key_strength else ()),
            *(add if self.separate_add else ()),
        )

    def initial_state(self, batch: int) -> MANNState:
        """The state every episode starts with, for B rows: nothing used, read or written yet."""
        require_positive(batch=batch)
        memory = self.bank.initial_memory(batch)
        slots, width = memory.shape[1:]
        return MANNState(
            memory,
            memory.new_zeros(batch, slots),
            memory.new_zeros(batch, self.read_heads, slots),
            memory.new_zeros(batch, self.read_heads, slots),
            memory.new_zeros(batch, self.read_heads, width),
            self.controller.initial_state(batch),
        )

    def step_traced(
        self, x: Tensor, state: MANNState
    ) -> tuple[Tensor, MANNState, tuple[Tensor, ...]]:
        """One step, with what the heads were given.

        x: (B, X). Returns logits (B, Y), the next state and the trace. The memory is written
        first, by the usage and the reads of the step before, then read (sec. 3.2).
        """
        hidden, controller = self.controller(x, state.reads, state.controller)
        heads = self.head_parameters(hidden)
        order = lrua.order_of(state.usage, cast(Tensor, self.margin))
        least = lrua.least_used(order, self.read_heads)
        write_weights = lrua.write_weights(heads.gate, state.read_weights, least)
        added = heads.key if heads.add is None else heads.add
        memory = lrua.write(state.memory, write_weights, added, lrua.least_used(order, 1))
        strength = 1.0 if heads.strength is None else heads.strength
        read_weights = content_weights(heads.key, memory, strength)  # eqs. 2 and 3
        reads = self.bank.read(memory, read_weights)  # eq. 4
        usage = lrua.update_usage(state.usage, read_weights, write_weights, self.usage_decay)
        y = self.output(torch.cat([hidden, reads.flatten(1)], dim=1))
        following = MANNState(
            memory, usage.detach(), read_weights, write_weights, reads, controller
        )
        return y, following, tuple(part for part in heads if part is not None)

    def head_parameters(self, controller_output: Tensor) -> MANNHeads:
        """controller_output: (B, H). Returns what the heads are given."""
        raw = self.heads(controller_output).view(-1, self.read_heads, sum(self._sizes))
        key, gate, *more = torch.split(raw, self._sizes, dim=2)
        strength = 1 + functional.softplus(more[0]) if self.key_strength else None
        add = torch.tanh(more[-1]) if self.separate_add else None
        return MANNHeads(torch.tanh(key), torch.sigmoid(gate), strength, add)
