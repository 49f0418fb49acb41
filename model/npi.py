"""The Neural Programmer-Interpreter of Reed and de Freitas 2016 (ICLR, arXiv 1511.06279).

A step is one tick of the interpreter: the core looks at what the pointers see, and the program on
top of the stack calls another, acts on the pad, or returns. Stack, arguments and pad are the state,
so a session is an interpreter that waits between two ticks.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from model import scratch_pad, sequences
from model.call_stack import CallStack, Choice, advanced, is_running, new_stack, top_of
from model.npi_core import NPICore, chosen
from model.npi_layout import LAYOUTS, OFF
from model.npi_taught import taught
from model.scratch_pad import places
from model.sizes import require_positive
from model.state import StateSpec, TensorSpec

NOTHING, TYPED, CALLED, ACTED, RETURNED = range(5)  # what a tick was, as the trace tells it


class NPIState(NamedTuple):
    """A paused interpreter."""

    pad: Tensor  # (B, R, N), digits, or -1 where blank
    pointers: Tensor  # (B, K), columns
    stack: CallStack


class Row(NamedTuple):
    """What a row of x says."""

    decision: Tensor  # (B, E), logits of one that is to be carried out
    forced: Tensor  # (B, 1), bool: is it?
    typing: Tensor  # (B, 1), bool: is it typed?
    values: Tensor  # (B, V)


class NPI(nn.Module):
    """A core, its programs, a stack and a scratch pad.

    environment: a name in LAYOUTS, which says programs and pad; input_size and output_size: X and
    Y, as that layout has them. columns: N of the pad; depth: D, calls within calls; hidden_size: H,
    layers: of the core; width: of a program's embedding. `step` returns logits. Weights depend on
    neither columns nor depth. Raises ValueError for sizes and names that make no machine.
    """

    family = "npi"

    def __init__(
        self,
        input_size: int,
        output_size: int,
        environment: str = "addition",
        *,
        columns: int = 128,
        depth: int = 8,
        hidden_size: int = 64,
        layers: int = 2,
        width: int = 32,
    ) -> None:
        super().__init__()
        require_positive(columns=columns, depth=depth)
        if environment not in LAYOUTS:
            raise ValueError(f"environment must be one of {sorted(LAYOUTS)}, got {environment!r}")
        self.layout = layout = LAYOUTS[environment]
        if (input_size, output_size) != (layout.input_size, layout.output_size):
            raise ValueError(
                f"{environment} has rows of {layout.input_size} and {layout.output_size} numbers, "
                f"got input_size {input_size} and output_size {output_size}"
            )
        self.input_size, self.output_size = input_size, output_size
        self.columns, self.depth = columns, depth
        self.core = NPICore(layout, hidden_size, layers, width)

    @property
    def state_spec(self) -> StateSpec:
        """Names, dims and roles of the state, in the order `flatten` gives its tensors."""
        layout, depth = self.layout, self.depth
        return (
            TensorSpec("pad", (len(layout.pad_rows), self.columns), "environment"),
            TensorSpec("pointers", (len(layout.pointers),), "environment"),
            TensorSpec("depth", (1,), "counter"),
            TensorSpec("programs", (depth,), "stack"),
            TensorSpec("arguments", (depth, len(layout.arguments)), "stack"),
            TensorSpec("frames", (depth, self.core.frame_size), "controller"),
        )

    @property
    def trace_spec(self) -> StateSpec:
        """Names, dims and roles of what `step_traced` tells, in order."""
        return (
            TensorSpec("event", (1,), "other"),
            TensorSpec("running_program", (1,), "program"),
            TensorSpec("running_arguments", (len(self.layout.arguments),), "program"),
            TensorSpec("seen", (len(self.layout.pointers),), "environment"),
            TensorSpec("key", (self.core.key.out_features,), "key"),
            TensorSpec("chosen_program", (1,), "program"),
            TensorSpec("chosen_arguments", (len(self.layout.arguments),), "program"),
        )

    def initial_state(self, batch: int) -> NPIState:
        """A blank pad and the main program, about to begin, for B rows."""
        require_positive(batch=batch)
        layout, like = self.layout, self.core.program_keys.detach()
        main, sizes = layout.programs.index(layout.main), self._frame_sizes
        pad, pointers = scratch_pad.blank_pad(layout, self.columns, like, batch)
        return NPIState(pad, pointers, new_stack(like, batch, self.depth, main, sizes))

    def step_traced(
        self, x: Tensor, state: NPIState
    ) -> tuple[Tensor, NPIState, tuple[Tensor, ...]]:
        """One tick (Reed and de Freitas 2016, Algorithm 1), a return being a tick of its own.

        x: (B, X). Of zeros: go on. A typed row's values come onto the pad, and nothing runs; of a
        row with a decision, that one is carried out, whatever the core makes of the tick. Returns
        logits (B, Y), the next state and the trace.
        """
        row, frame = self._said(x), top_of(state.stack)
        running = is_running(state.stack) & ~row.typing
        seen = scratch_pad.read(self.layout, state.pad, state.pointers)
        program = places(frame.program.squeeze(1), len(self.layout.programs))
        thought = self.core(seen, frame.arguments, program, frame.core)
        decided = torch.where(row.forced, row.decision, thought.decision)
        choice = chosen(decided, self.layout)
        acting = running & ~choice.returns & (choice.program < 0.5)
        pad, pointers = scratch_pad.act(
            self.layout, state.pad, state.pointers, choice.arguments, acting
        )
        pad = scratch_pad.typed(self.layout, pad, row.values, row.typing)
        stack = advanced(state.stack, thought.frame, choice, running)
        y = torch.cat([_certain_unless(running, thought.decision), _ends(stack)], dim=1)
        event = _event(row.typing, running, choice)
        trace = (event, frame.program, frame.arguments, seen, thought.key, *choice[1:])
        return y, NPIState(pad, pointers, stack), trace

    def step(self, input_t: Tensor, state: NPIState) -> tuple[Tensor, NPIState]:
        """input_t: (B, X). Returns logits (B, Y) and the next state.

        Raises ValueError for other dims, and for rows that are not as many as the state's.
        """
        sequences.require_row(input_t, state.pad.shape[0], self.input_size)
        y, following, _ = self.step_traced(input_t, state)
        return y, following

    def forward(self, inputs: Tensor, state: NPIState | None = None) -> Tensor:
        """A whole run, from fresh state where none is given. inputs: (B, T, X). Returns logits
        (B, T, Y). Use `run` to keep the state as well."""
        return self.run(inputs, state)[0]

    def run(self, inputs: Tensor, state: NPIState | None = None) -> tuple[Tensor, NPIState]:
        """inputs: (B, T, X). Returns logits (B, T, Y) and the state after the last row."""
        return sequences.run(self, inputs, state)

    def taught(self, inputs: Tensor) -> Tensor:
        """What `forward` gives, many times faster, where every row is typed, has a decision, or
        comes after the end. inputs: (B, T, X). Returns logits (B, T, Y). Raises ValueError for
        other rows."""
        return taught(self.core, self.layout, inputs, self.columns)

    @property
    def _frame_sizes(self) -> tuple[int, int]:
        return len(self.layout.arguments), self.core.frame_size

    def _said(self, x: Tensor) -> Row:
        sizes = [self.layout.decision_size, 1, self.layout.typed]
        decision, typing, values = x.split(sizes, dim=1)
        forced = decision.amax(dim=1, keepdim=True) > 0.5
        return Row(decision - 0.5, forced, typing > 0.5, values)


def _certain_unless(running: Tensor, logits: Tensor) -> Tensor:
    """The logits (B, E) of rows that run; of others, every flag off."""
    return torch.where(running, logits, -OFF)


def _ends(stack: CallStack) -> Tensor:
    """Logits of halted and overflow: (B, 2)."""
    depth = stack.programs.shape[1]
    flags = torch.cat([stack.depth < 0.5, stack.depth > depth + 0.5], dim=1)
    return (2 * flags.to(stack.depth) - 1) * OFF


def _event(typing: Tensor, running: Tensor, choice: Choice) -> Tensor:
    """What the tick was: (B, 1), one of the five above."""
    calls = torch.where(choice.program > 0.5, float(CALLED), float(ACTED))
    kind = torch.where(choice.returns, float(RETURNED), calls)
    return torch.where(running, kind, TYPED * typing.to(kind))
