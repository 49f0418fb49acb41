"""What a Neural Random-Access Machine is asked to do with its tape (Kurach et al. 2016).

A problem draws B tapes of a size, and says what they must be in the end. Values are integers of
0 .. M-1; arrays hold no 0, which ends them where they have an end.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor


class Tapes(NamedTuple):
    """B tapes of M cells, as they are given and as they should be."""

    given: Tensor  # (B, M)
    right: Tensor  # (B, M)
    changed: Tensor  # (B, M), bool: the cells that the problem is about


class Line(NamedTuple):
    """What grows with the size."""

    each: int
    more: int

    def __call__(self, size: int) -> int:
        """Of a problem of `size` elements."""
        return self.each * size + self.more


class Problem(NamedTuple):
    """cells: of a size; steps: that a machine is given; draw(generator, batch, size, M)."""

    name: str
    cells: Line
    steps: Line
    draw: Callable[[Generator, int, int, int], Tapes]
    smallest: int
    longest: int  # of training, as the paper has it
    layout: tuple[str, ...]  # of the cells
    answer: str


def access(generator: Generator, batch: int, size: int, integers: int) -> Tapes:
    """k, A[0], .., A[n-1], 0: put A[k] into the first cell."""
    given = _array(generator, batch, size, integers, before=1)
    given[:, 0] = torch.randint(0, size, (batch,), generator=generator)
    right = given.clone()
    right[:, 0] = _at(given, given[:, 0] + 1)
    return Tapes(given, right, _cells(given, 0, 1))


def increment(generator: Generator, batch: int, size: int, integers: int) -> Tapes:
    """A[0], .., A[n-1], 0: add 1 to each."""
    given = _array(generator, batch, size, integers, before=0, most=integers - 2)
    changed = _cells(given, 0, size)
    return Tapes(given, given + changed, changed)


def copy(generator: Generator, batch: int, size: int, integers: int) -> Tapes:
    """p, A[0], .., A[n-1], where p points behind A: put the array there."""
    given = _array(generator, batch, size, integers, before=1)
    given[:, 0] = size + 1
    right = given.clone()
    right[:, size + 1 : 2 * size + 1] = given[:, 1 : size + 1]
    return Tapes(given, right, _cells(given, size + 1, 2 * size + 1))


def reverse(generator: Generator, batch: int, size: int, integers: int) -> Tapes:
    """p, A[0], .., A[n-1], where p points behind A: put the array there, last element first."""
    tapes = copy(generator, batch, size, integers)
    right = tapes.given.clone()
    right[:, size + 1 : 2 * size + 1] = tapes.given[:, 1 : size + 1].flip(1)
    return tapes._replace(right=right)


def swap(generator: Generator, batch: int, size: int, integers: int) -> Tapes:
    """p, q, A[0], .., A[n-1], 0: exchange A[p] and A[q], p < q or q < p."""
    given = _array(generator, batch, size, integers, before=2)
    given[:, 0] = torch.randint(0, size, (batch,), generator=generator)
    away = torch.randint(1, size, (batch,), generator=generator)
    given[:, 1] = (given[:, 0] + away) % size
    first, second = given[:, 0] + 2, given[:, 1] + 2
    right = given.scatter(1, first.unsqueeze(1), _at(given, second).unsqueeze(1))
    right = right.scatter(1, second.unsqueeze(1), _at(given, first).unsqueeze(1))
    places = torch.arange(integers).unsqueeze(0)
    changed = (places == first.unsqueeze(1)) | (places == second.unsqueeze(1))
    return Tapes(given, right, changed)


def _array(
    generator: Generator, batch: int, size: int, integers: int, before: int, most: int | None = None
) -> Tensor:
    """(B, M): `size` values of 1 .. most after so many cells, 0 elsewhere."""
    most = integers - 1 if most is None else most
    tape = torch.zeros(batch, integers, dtype=torch.long)
    values = torch.randint(1, most + 1, (batch, size), generator=generator)
    tape[:, before : before + size] = values
    return tape


def _at(tape: Tensor, places: Tensor) -> Tensor:
    return tape.gather(1, places.unsqueeze(1)).squeeze(1)


def _cells(tape: Tensor, begin: int, end: int) -> Tensor:
    places = torch.arange(tape.shape[1])
    return ((places >= begin) & (places < end)).expand_as(tape)


ARRAY = "A[0] .. A[n-1]"
PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem("access", Line(1, 2), Line(0, 4), access, 2, 20, ("k", ARRAY, "0"), "cell 0"),
        Problem("increment", Line(1, 1), Line(1, 3), increment, 1, 15, (ARRAY, "0"), ARRAY),
        Problem("tape-copy", Line(2, 1), Line(1, 4), copy, 1, 15, ("p", ARRAY), "from p"),
        Problem("reverse", Line(2, 1), Line(1, 4), reverse, 1, 15, ("p", ARRAY), "from p"),
        Problem("swap", Line(1, 3), Line(0, 7), swap, 2, 20, ("p", "q", ARRAY, "0"), "A[p], A[q]"),
    )
}
