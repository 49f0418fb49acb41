"""The 14 modules of the Neural Random-Access Machine (Kurach et al. 2016, section 3.1 and 5).

An integer is a distribution over 0 .. M-1, and arithmetic is modulo M. A module m makes of
independent a and b the distribution P(o = c) = sum_{i, j} P(a = i) P(b = j) [m(i, j) = c].
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Module(NamedTuple):
    """A module by its name, and how many of its two arguments it looks at."""

    name: str
    arguments: int


MODULES = (
    Module("READ", 1),
    Module("ZERO", 0),
    Module("ONE", 0),
    Module("TWO", 0),
    Module("INC", 1),
    Module("ADD", 2),
    Module("SUB", 2),
    Module("DEC", 1),
    Module("LESS-THAN", 2),
    Module("LESS-OR-EQUAL", 2),
    Module("EQUALITY", 2),
    Module("MIN", 2),
    Module("MAX", 2),
    Module("WRITE", 2),
)
CONSTANTS = {"ZERO": 0, "ONE": 1, "TWO": 2}


def read(tape: Tensor, pointer: Tensor) -> Tensor:
    """r = sum_i p_i M_i. tape: (B, M, M): cell, integer; pointer: (B, M). Returns (B, M)."""
    return torch.bmm(pointer.unsqueeze(1), tape).squeeze(1)


def write(tape: Tensor, pointer: Tensor, value: Tensor) -> Tensor:
    """M' = (1 - p) 1^T * M + p a^T: each cell is overwritten as far as the pointer is there.

    tape: (B, M, M); pointer, value: (B, M). Returns the tape (B, M, M).
    """
    there = pointer.unsqueeze(2)
    return (1 - there) * tape + there * value.unsqueeze(1)


def constant(like: Tensor, value: int) -> Tensor:
    """The integer `value` modulo M as a distribution. like: (B, M). Returns (B, M)."""
    size = like.shape[1]
    row = torch.arange(size, device=like.device) == value % size
    return row.to(like.dtype).unsqueeze(0).expand(like.shape[0], size)


def inc(a: Tensor) -> Tensor:
    """a + 1 mod M. a: (B, M). Returns (B, M)."""
    return torch.cat([a[:, -1:], a[:, :-1]], dim=1)


def dec(a: Tensor) -> Tensor:
    """a - 1 mod M. a: (B, M). Returns (B, M)."""
    return torch.cat([a[:, 1:], a[:, :1]], dim=1)


def add(a: Tensor, b: Tensor) -> Tensor:
    """a + b mod M: P(o = c) = sum_i P(a = i) P(b = c - i). a, b: (B, M). Returns (B, M)."""
    places = _places(a)
    return _circular(a, b, places.unsqueeze(0) - places.unsqueeze(1))


def sub(a: Tensor, b: Tensor) -> Tensor:
    """a - b mod M: P(o = c) = sum_j P(b = j) P(a = c + j). a, b: (B, M). Returns (B, M)."""
    places = _places(a)
    return _circular(b, a, places.unsqueeze(0) + places.unsqueeze(1))


def less_than(a: Tensor, b: Tensor) -> Tensor:
    """[a < b], 0 or 1. a, b: (B, M). Returns (B, M)."""
    return _flag(_dot(_below(a), b), a.shape[1])


def less_or_equal(a: Tensor, b: Tensor) -> Tensor:
    """[a <= b], 0 or 1. a, b: (B, M). Returns (B, M)."""
    return _flag(_dot(_below(a) + a, b), a.shape[1])


def equality(a: Tensor, b: Tensor) -> Tensor:
    """[a = b], 0 or 1. a, b: (B, M). Returns (B, M)."""
    return _flag(_dot(a, b), a.shape[1])


def minimum(a: Tensor, b: Tensor) -> Tensor:
    """min(a, b): P(o = c) = P(a = c) P(b >= c) + P(b = c) P(a > c). All (B, M)."""
    return a * (_above(b) + b) + b * _above(a)


def maximum(a: Tensor, b: Tensor) -> Tensor:
    """max(a, b): P(o = c) = P(a = c) P(b <= c) + P(b = c) P(a < c). All (B, M)."""
    return a * (_below(b) + b) + b * _below(a)


UNARY: dict[str, Callable[[Tensor], Tensor]] = {"INC": inc, "DEC": dec}
BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ADD": add,
    "SUB": sub,
    "LESS-THAN": less_than,
    "LESS-OR-EQUAL": less_or_equal,
    "EQUALITY": equality,
    "MIN": minimum,
    "MAX": maximum,
}


def _places(like: Tensor) -> Tensor:
    return torch.arange(like.shape[1], device=like.device)


def _circular(weights: Tensor, values: Tensor, place: Tensor) -> Tensor:
    """sum_i weights_i values_{place_ic mod M}. weights, values: (B, M); place: (M, M). (B, M)."""
    size = values.shape[1]
    turned = values.index_select(1, (place % size).flatten()).unflatten(1, (size, size))
    return torch.bmm(weights.unsqueeze(1), turned).squeeze(1)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """(B, 1). A product of matrices: it does not round by a row's place in the batch."""
    return torch.bmm(a.unsqueeze(1), b.unsqueeze(2)).squeeze(2)


def _below(a: Tensor) -> Tensor:
    """P(a < c) for each c. a: (B, M). Returns (B, M)."""
    size = a.shape[1]
    return torch.mm(a, a.new_ones(size, size).triu(1))


def _above(a: Tensor) -> Tensor:
    """P(a > c) for each c. a: (B, M). Returns (B, M)."""
    size = a.shape[1]
    return torch.mm(a, a.new_ones(size, size).tril(-1))


def _flag(true: Tensor, size: int) -> Tensor:
    """The integer 0 or 1 from the probability (B, 1) that it is 1: (B, M)."""
    return functional.pad(torch.cat([1 - true, true], dim=1), (0, size - 2))
