"""The Differentiable Neural Computer of Graves et al. 2016 (Nature 538, 471-476)."""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from model import sequences
from model.controllers import ControllerKind, ControllerState, NTMController
from model.dnc_content import content_weights
from model.dnc_interface import DNCInterface, ReadInterface, WriteInterface, told
from model.links import follow, same_slot, sharpen_links, update_link, update_precedence
from model.memory import MemoryBank, MemoryInit
from model.sizes import require_positive
from model.state import StateSpec, TensorSpec
from model.usage import allocation, order_margin, retention, update_usage


class DNCState(NamedTuple):
    """All a DNC carries from one step to the next."""

    memory: Tensor  # (B, N, M)
    usage: Tensor  # (B, N)
    link: Tensor  # (B, N, N)
    precedence: Tensor  # (B, N)
    read_weights: Tensor  # (B, R, N)
    write_weights: Tensor  # (B, 1, N)
    reads: Tensor  # (B, R, M)
    controller: ControllerState


class DNC(sequences.Stepped[DNCState]):
    """A controller with R read heads and one write head on an N x M memory.

    input_size: X, output_size: Y, memory_size: N, memory_width: M, controller_size: H.
    `forward` returns logits. Cures of Csordas and Schmidhuber 2019 ("Improving differentiable
    neural computers through memory masking, de-allocation, and link distribution sharpness
    control", ICLR), each off by itself: mask_content compares a key with the parts of each word
    that a mask lets through; erase_freed wipes what a freed slot held; sharpen_links keeps
    the forward and backward weights from blurring.
    state_clip: bounds an LSTM controller's state, as the authors' own code does (20 there); 0: not.
    A cell that counts rows otherwise grows with them, and its rounding past 1e-5 from 32 on.
    Raises ValueError for sizes and names that make no machine.
    """

    family = "dnc"

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
        mask_content: bool = False,
        erase_freed: bool = False,
        sharpen_links: bool = False,
        state_clip: float = 0.0,
    ) -> None:
        super().__init__()
        require_positive(input_size=input_size, output_size=output_size)
        if state_clip < 0 or (state_clip and controller != "lstm"):
            raise ValueError(f"state_clip must be >= 0, and 0 without an LSTM, got {state_clip}")
        self.state_clip = state_clip
        self.input_size, self.output_size, self.erase_freed = input_size, output_size, erase_freed
        self.bank = MemoryBank(memory_size, memory_width, memory_init)
        self.interface = DNCInterface(
            controller_size, memory_width, read_heads, mask_content, sharpen_links
        )
        self.controller = NTMController(
            controller, input_size, controller_size, read_heads, memory_width, controller_layers
        )
        self.output = nn.Linear(controller_size + read_heads * memory_width, output_size)
        # Constants, so in no file of weights.
        self.register_buffer("margin", order_margin(memory_size), persistent=False)
        self.register_buffer("same", same_slot(memory_size), persistent=False)

    @property
    def state_spec(self) -> StateSpec:
        """Names, dims and roles of the state, in the order `flatten` gives its tensors."""
        slots, width = self.bank.memory_size, self.bank.memory_width
        readers = self.interface.read_heads
        return (
            TensorSpec("memory", (slots, width), "memory"),
            TensorSpec("usage", (slots,), "usage"),
            TensorSpec("link", (slots, slots), "link"),
            TensorSpec("precedence", (slots,), "precedence"),
            TensorSpec("read_weights", (readers, slots), "read_weights"),
            TensorSpec("write_weights", (1, slots), "write_weights"),
            TensorSpec("reads", (readers, width), "read_vectors"),
            *self.controller.state_spec,
        )

    @property
    def trace_spec(self) -> StateSpec:
        """Names, dims and roles of what `step_traced` tells, in order."""
        return self.interface.trace_spec

    def initial_state(self, batch: int) -> DNCState:
        """The state every episode starts with, for B rows: nothing used, read or written yet."""
        require_positive(batch=batch)
        memory = self.bank.initial_memory(batch)
        slots, width, readers = *memory.shape[1:], self.interface.read_heads
        return DNCState(
            memory,
            memory.new_zeros(batch, slots),
            memory.new_zeros(batch, slots, slots),
            memory.new_zeros(batch, slots),
            memory.new_zeros(batch, readers, slots),
            memory.new_zeros(batch, 1, slots),
            memory.new_zeros(batch, readers, width),
            self.controller.initial_state(batch),
        )

    def step_traced(
        self, x: Tensor, state: DNCState
    ) -> tuple[Tensor, DNCState, tuple[Tensor, ...]]:
        """One step, with what the heads were given.

        x: (B, X). Returns logits (B, Y), the next state and the trace. Slots are freed first, then
        the memory is written, then read, so a head can read what was written in this step.
        """
        hidden, controller = self.controller(x, state.reads, state.controller)
        if self.state_clip:
            limit = self.state_clip
            controller = tuple(part.clamp(-limit, limit) for part in controller)
        read, write = self.interface(hidden)
        kept = retention(read.free, state.read_weights)
        usage = update_usage(state.usage, state.write_weights[:, 0], kept)
        write_weights = self.write_weights(write, state.memory, usage)
        held = state.memory * kept.unsqueeze(2) if self.erase_freed else state.memory
        memory = self.bank.write(held, write_weights, write.erase, write.add)
        written = write_weights[:, 0]
        link = update_link(state.link, written, state.precedence, cast(Tensor, self.same))
        precedence = update_precedence(state.precedence, written)
        read_weights = self.read_weights(read, memory, link, state.read_weights)
        reads = self.bank.read(memory, read_weights)
        y = self.output(torch.cat([hidden, reads.flatten(1)], dim=1))
        following = DNCState(
            memory, usage, link, precedence, read_weights, write_weights, reads, controller
        )
        return y, following, told(read, write)

    def write_weights(self, write: WriteInterface, memory: Tensor, usage: Tensor) -> Tensor:
        """w_t^w = g_t^w [g_t^a a_t + (1 - g_t^a) c_t^w].

        memory: (B, N, M), before the write; usage: (B, N). Returns (B, 1, N), sums to at most 1.
        """
        free = allocation(usage, cast(Tensor, self.margin)).unsqueeze(1)
        content = content_weights(write.key, memory, write.strength, write.mask)
        return write.gate * (write.allocation * free + (1 - write.allocation) * content)

    def read_weights(
        self, read: ReadInterface, memory: Tensor, link: Tensor, previous: Tensor
    ) -> Tensor:
        """w_t^r = pi_t(1) b_t + pi_t(2) c_t^r + pi_t(3) f_t.

        memory: (B, N, M) and link: (B, N, N), after the write; previous: (B, R, N). Returns
        (B, R, N), sums to at most 1.
        """
        backward, forward = follow(link, previous)
        if read.sharpness is not None:
            backward = sharpen_links(backward, read.sharpness[..., 0:1])
            forward = sharpen_links(forward, read.sharpness[..., 1:2])
        content = content_weights(read.key, memory, read.strength, read.mask)
        before, same, after = read.modes.split(1, dim=2)
        return before * backward + same * content + after * forward
