"""Teaching a neural programmer-interpreter: all ticks of whole traces at once.

Where every decision is given, what the core sees, and in which frame, does not depend on its
weights, and a frame begins with the core's state at zero. So the frames of a batch are run side by
side, the longest first, instead of the ticks one after the other.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from model.npi_core import NPICore
from model.npi_interpreter import Interpreter
from model.npi_layout import FLAGS, OFF, Layout


class Tick(NamedTuple):
    """What the core is given at a tick, and where its answer goes."""

    seen: list[int]
    program: int
    arguments: list[int]
    row: int  # of all rows of the batch, B T


def taught(core: NPICore, layout: Layout, inputs: Tensor, columns: int) -> Tensor:
    """The logits that ticks one after the other give, where each row is typed, has a decision, or
    comes after the end. inputs: (B, T, X). Returns (B, T, Y). Raises ValueError for other rows.
    """
    batch, rows, _ = inputs.shape
    frames: list[list[Tick]] = []
    ends: list[int] = []
    for number, sequence in enumerate(inputs.tolist()):
        ends += _followed(layout, columns, sequence, number * rows, frames)
    logits = inputs.new_full((batch * rows, layout.output_size), -OFF)
    for end in ends:
        logits[end : (end // rows + 1) * rows, layout.decision_size] = OFF
    if frames:
        frames.sort(key=len, reverse=True)
        at = torch.tensor([tick.row for tick in _in_turns(frames)], device=inputs.device)
        decided = torch.cat([_run(core, frames, inputs), logits[at, -FLAGS:]], dim=1)
        logits = logits.index_copy(0, at, decided)
    return logits.view(batch, rows, -1)


def _followed(
    layout: Layout,
    columns: int,
    sequence: list[list[float]],
    first: int,
    frames: list[list[Tick]],
) -> list[int]:
    """Puts the frames of one sequence into `frames`; the row of its end, if it comes to one."""
    interpreter, open_frames = Interpreter(layout, columns), [list[Tick]()]
    size = layout.decision_size
    for number, x in enumerate(sequence):
        if x[size] > 0.5:
            interpreter.type([round(value) for value in x[size + 1 :]])
            continue
        if max(x[:size]) <= 0.5:
            raise ValueError(f"row {number} should be typed or have a decision: the run goes on")
        depth = len(interpreter.stack)
        program, *given = interpreter.stack[-1]
        open_frames[-1].append(Tick(interpreter.seen, program, given, first + number))
        interpreter.carry_out(layout.decide(x))
        if len(interpreter.stack) > depth:
            open_frames.append([])
        elif len(interpreter.stack) < depth:
            frames.append(open_frames.pop())
            if not interpreter.stack:
                return [first + number]
    frames += [frame for frame in open_frames if frame]
    return []


def _in_turns(frames: list[list[Tick]]) -> list[Tick]:
    """First ticks of all frames, second ticks of those that have one, and so on."""
    turns = range(len(frames[0]))
    return [frame[turn] for turn in turns for frame in frames if turn < len(frame)]


def _run(core: NPICore, frames: list[list[Tick]], like: Tensor) -> Tensor:
    """The decisions of all ticks, in turns, as logits."""
    ticks = _in_turns(frames)
    seen = like.new_tensor([tick.seen for tick in ticks])
    arguments = like.new_tensor([tick.arguments for tick in ticks])
    program = torch.tensor([tick.program for tick in ticks], device=like.device)
    entered = core.enter(seen, arguments, core.program_embeddings[program])
    counts = [sum(len(frame) > turn for frame in frames) for turn in range(len(frames[0]))]
    state = like.new_zeros(len(frames), core.frame_size)
    outputs: list[Tensor] = []
    for part in entered.split(counts):
        output, state = core.advance(part, state[: part.shape[0]])
        outputs.append(output)
    return core.decide(torch.cat(outputs))[0]
