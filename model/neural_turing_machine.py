"""The Neural Turing Machine of Graves, Wayne and Danihelka 2014 (arXiv 1410.5401)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from model import sequences
from model.addressing import Sharpening
from model.controllers import ControllerKind, ControllerState, NTMController
from model.heads import HeadParameters, ReadWriteHeads, WriteParameters
from model.memory import MemoryBank, MemoryInit
from model.sizes import require_positive
from model.state import Role, StateSpec, TensorSpec


class NTMState(NamedTuple):
    """All an NTM carries from one step to the next."""

    memory: Tensor  # (B, N, M)
    read_weights: Tensor  # (B, R, N)
    write_weights: Tensor  # (B, W, N)
    reads: Tensor  # (B, R, M)
    controller: ControllerState


class NTMTrace(NamedTuple):
    """What the heads emitted in one step, and why they looked where they did."""

    read: HeadParameters
    write: WriteParameters


class NeuralTuringMachine(sequences.Stepped[NTMState]):
    """A controller with read and write heads on an N x M memory.

    input_size: X, output_size: Y, memory_size: N, memory_width: M, controller_size: H.
    `forward` returns logits; a task with binary targets puts a sigmoid behind them.
    Raises ValueError for sizes and names that make no machine.
    """

    family = "ntm"

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
        write_heads: int = 1,
        shift_range: int = 1,
        memory_init: MemoryInit = "constant",
        sharpening: Sharpening = "power",
    ) -> None:
        super().__init__()
        require_positive(input_size=input_size, output_size=output_size)
        self.input_size, self.output_size = input_size, output_size
        self.bank = MemoryBank(memory_size, memory_width, memory_init)
        self.heads = ReadWriteHeads(
            controller_size, memory_width, read_heads, write_heads, shift_range, sharpening
        )
        if self.heads.shifts > memory_size:
            raise ValueError(
                f"shift_range {shift_range} needs memory_size >= {self.heads.shifts}, "
                f"got {memory_size}"
            )
        self.controller = NTMController(
            controller, input_size, controller_size, read_heads, memory_width, controller_layers
        )
        self.output = nn.Linear(controller_size + read_heads * memory_width, output_size)
        # Learned starts (Collier and Beel 2018). Heads begin focused on slot 0: from a blurred
        # start the first rows are written smeared, and no head has a place to wait at.
        self.initial_reads = nn.Parameter(torch.randn(read_heads, memory_width) * 0.05)
        self.initial_read_focus = nn.Parameter(_focus_on_first(read_heads, memory_size))
        self.initial_write_focus = nn.Parameter(_focus_on_first(write_heads, memory_size))

    @property
    def state_spec(self) -> StateSpec:
        """Names, dims and roles of the state, in the order `flatten` gives its tensors."""
        slots, width = self.bank.memory_size, self.bank.memory_width
        readers, writers = self.heads.read_heads, self.heads.write_heads
        return (
            TensorSpec("memory", (slots, width), "memory"),
            TensorSpec("read_weights", (readers, slots), "read_weights"),
            TensorSpec("write_weights", (writers, slots), "write_weights"),
            TensorSpec("reads", (readers, width), "read_vectors"),
            *self.controller.state_spec,
        )

    @property
    def trace_spec(self) -> StateSpec:
        """Names, dims and roles of what `step_traced` tells, in order."""
        width, shifts = self.heads.memory_width, self.heads.shifts
        parts: tuple[tuple[Role, int], ...] = (
            ("key", width),
            ("strength", 1),
            ("gate", 1),
            ("shift", shifts),
            ("sharpness", 1),
        )
        heads = (("read", self.heads.read_heads), ("write", self.heads.write_heads))
        address = [
            TensorSpec(f"{head}_{part}", (count, size), part)
            for head, count in heads
            for part, size in parts
        ]
        return (
            *address,
            TensorSpec("write_erase", (self.heads.write_heads, width), "erase"),
            TensorSpec("write_add", (self.heads.write_heads, width), "add"),
        )

    def initial_state(self, batch: int) -> NTMState:
        """The state every episode starts with, for B rows; the same for each."""
        require_positive(batch=batch)
        return NTMState(
            self.bank.initial_memory(batch),
            torch.softmax(self.initial_read_focus, dim=1).unsqueeze(0).expand(batch, -1, -1),
            torch.softmax(self.initial_write_focus, dim=1).unsqueeze(0).expand(batch, -1, -1),
            torch.tanh(self.initial_reads).unsqueeze(0).expand(batch, -1, -1),
            self.controller.initial_state(batch),
        )

    def step_traced(self, x: Tensor, state: NTMState) -> tuple[Tensor, NTMState, NTMTrace]:
        """One step, with what the heads emitted.

        x: (B, X). Returns logits (B, Y), the next state and the trace. The memory is written
        first and read after, so a head can read what was written in this step.
        """
        hidden, controller = self.controller(x, state.reads, state.controller)
        write = self.heads.write_parameters(hidden)
        write_weights = self.heads.weights(write.address, state.memory, state.write_weights)
        memory = self.bank.write(state.memory, write_weights, write.erase, write.add)
        read = self.heads.read_parameters(hidden)
        read_weights = self.heads.weights(read, memory, state.read_weights)
        reads = self.bank.read(memory, read_weights)
        y = self.output(torch.cat([hidden, reads.flatten(1)], dim=1))
        following = NTMState(memory, read_weights, write_weights, reads, controller)
        return y, following, NTMTrace(read, write)

    def get_memory_state(self, state: NTMState | None = None) -> Tensor:
        """The memory in `state`, detached: (B, N, M); of a fresh episode (1, N, M) where None."""
        state = self.initial_state(1) if state is None else state
        return self.bank.get_memory_contents(state.memory)


def _focus_on_first(heads: int, slots: int) -> Tensor:
    logits = torch.randn(heads, slots) * 0.1
    logits[:, 0] += 10  # a weight of 0.99 at 128 slots, still free to move
    return logits


class MultiHeadNTM(NeuralTuringMachine):
    """An NTM with `num_heads` read heads and as many write heads, else as its base."""

    def __init__(
        self,
        input_size: int,
        output_size: int,
        memory_size: int,
        memory_width: int,
        num_heads: int = 4,
        *,
        controller: ControllerKind = "lstm",
        controller_size: int = 100,
        controller_layers: int = 1,
        shift_range: int = 1,
        memory_init: MemoryInit = "constant",
        sharpening: Sharpening = "power",
    ) -> None:
        super().__init__(
            input_size,
            output_size,
            memory_size,
            memory_width,
            controller=controller,
            controller_size=controller_size,
            controller_layers=controller_layers,
            read_heads=num_heads,
            write_heads=num_heads,
            shift_range=shift_range,
            memory_init=memory_init,
            sharpening=sharpening,
        )
