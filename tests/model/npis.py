"""Interpreters with sizes that differ pairwise, and rows for them."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from model.npi import NPI, NPIState
from model.npi_interpreter import Interpreter
from model.npi_layout import LAYOUTS, RETURN, Decision, Layout

B, N, D, H, L, M = 4, 6, 5, 8, 2, 7  # columns, depth, hidden, layers, width
ENVIRONMENTS = sorted(LAYOUTS)


def npi(environment: str = "addition", seed: int = 1, **options: int) -> NPI:
    torch.manual_seed(seed)
    layout = LAYOUTS[environment]
    sizes = {"columns": N, "depth": D, "hidden_size": H, "layers": L, "width": M, **options}
    return NPI(layout.input_size, layout.output_size, environment, **sizes)


def row_of(layout: Layout, decision: Decision | None = None, typed: tuple[int, ...] = ()) -> Tensor:
    """A row of x, (X,): go on, carry this out, or type these values."""
    row = torch.zeros(layout.input_size)
    if decision is not None:
        row[layout.flags(decision)] = 1
    if typed:
        row[layout.decision_size] = 1
        row[layout.decision_size + 1 :] = torch.tensor(typed, dtype=torch.float32)
    return row


def random_row(layout: Layout, draw: random.Random, height: int, depth: int) -> Tensor:
    """A decision that a stack of `height` frames has room for, or values."""
    if draw.random() < 0.2:
        return row_of(layout, typed=tuple(draw.randint(-1, 9) for _ in range(layout.typed)))
    if draw.random() < 0.15 and height > 1:
        return row_of(layout, Decision(RETURN))
    programs = len(layout.programs) if height < depth else 1
    program = draw.randrange(programs) if draw.random() < 0.4 else 0
    return row_of(layout, Decision(program, *map(draw.randrange, layout.widths[2:])))


def assert_same(interpreter: Interpreter, state: NPIState, row: int = 0) -> None:
    """Pad, pointers and stack are, to the bit, those of the interpreter in plain Python."""
    stack = state.stack
    height = len(interpreter.stack)
    assert state.pad[row].tolist() == interpreter.pad
    assert state.pointers[row].tolist() == interpreter.pointers
    assert stack.depth[row].item() == height
    assert stack.programs[row, :height].tolist() == [frame.program for frame in interpreter.stack]
    given = [list(frame[1:]) for frame in interpreter.stack]
    assert stack.arguments[row, :height].tolist() == given
