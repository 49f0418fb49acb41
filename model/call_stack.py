"""The call stack of a neural programmer-interpreter, as pure tensor functions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from model.scratch_pad import places


class CallStack(NamedTuple):
    """D frames, of which the first `depth` are in use and the last of these is on top. At depth 0
    the interpreter has halted; at D + 1 a call found no room, and it has halted too."""

    depth: Tensor  # (B, 1)
    programs: Tensor  # (B, D), by number
    arguments: Tensor  # (B, D, 3), by number
    frames: Tensor  # (B, D, F), the core's state: zero when a program begins


class Frame(NamedTuple):
    """What is on top."""

    program: Tensor  # (B, 1)
    arguments: Tensor  # (B, 3)
    core: Tensor  # (B, F)


class Choice(NamedTuple):
    """What a tick is to do."""

    returns: Tensor  # (B, 1), bool
    program: Tensor  # (B, 1), by number, 0 acts on the pad
    arguments: Tensor  # (B, 3), by number


def new_stack(like: Tensor, batch: int, depth: int, program: int, sizes: tuple[int, int]):
    """A stack with `program` about to begin. sizes: numbers of arguments, and F."""
    programs = like.new_zeros(batch, depth)
    programs[:, 0] = program
    given, frame = (like.new_zeros(batch, depth, size) for size in sizes)
    return CallStack(like.new_ones(batch, 1), programs, given, frame)


def is_running(stack: CallStack) -> Tensor:
    """Has it not halted? (B, 1), bool."""
    return (stack.depth > 0.5) & (stack.depth < stack.programs.shape[1] + 0.5)


def top_of(stack: CallStack) -> Frame:
    """The frame on top; of one that has halted, zeros."""
    at = places(stack.depth.squeeze(1) - 1, stack.programs.shape[1]).unsqueeze(1)  # (B, 1, D)
    parts = (stack.programs.unsqueeze(2), stack.arguments, stack.frames)
    return Frame(*((at @ part).squeeze(1) for part in parts))


def advanced(stack: CallStack, core: Tensor, choice: Choice, running: Tensor) -> CallStack:
    """The stack after a tick: the core's next state (B, F) on top; then pushed by a call, with the
    state of a core that begins, h = 0 (Reed and de Freitas 2016, Algorithm 1), or popped by a
    return. running: (B, 1), bool: rows that are not stay as they are."""
    depth = stack.programs.shape[1]
    height = stack.depth.squeeze(1)
    calling = running & ~choice.returns & (choice.program > 0.5)
    returning = running & choice.returns
    here = (places(height - 1, depth) * running) > 0
    above = (places(height, depth) * calling) > 0  # nowhere, where the stack is full
    frames = torch.where(here.unsqueeze(2), core.unsqueeze(1), stack.frames)
    return CallStack(
        stack.depth + calling.to(core) - returning.to(core),
        torch.where(above, choice.program, stack.programs),
        torch.where(above.unsqueeze(2), choice.arguments.unsqueeze(1), stack.arguments),
        torch.where(above.unsqueeze(2), torch.zeros_like(frames), frames),
    )
