"""Problems that prove a recursive program right for every length, where it does them all.

Cai, Shi and Song 2017 (sec. 3.3): the core of a program begins with a state of zeros, so what a
call does depends on nothing but what it sees between its beginning and its end. A recursive program
sees a bounded part of its problem in one call, so all that any call can ever see is a finite set;
where the right is done on all of it, induction does the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from model.npi_layout import BLANK, DIGITS

Typed = list[tuple[int, ...]]
Column = tuple[int, int]
EMPTY: Column = (BLANK, BLANK)
CARRYING: Column = (9, 9)


def addition(digits: Sequence[int] = range(DIGITS)) -> Iterator[Typed]:
    """Two numbers each, of these digits, so that every call of the recursive program is met.

    A call of ADD sees the column it begins at, its carry included, the next column, which the call
    within it begins at, and at its end the first empty one; ADD1, CARRY and LSHIFT see the same two
    columns. So: every column and every next one, without a carry into the first (nothing to
    its right) and with one (9 + 9 to its right).
    """
    for right in ([], [CARRYING]):
        for column in _columns(digits):
            for following in _after(column, digits):
                yield [*([following] if following != EMPTY else []), column, *right]
    yield [CARRYING]  # the last carry has an empty column of its own
    yield []


def _columns(digits: Sequence[int]) -> Iterator[Column]:
    cells = (BLANK, *digits)
    return ((a, b) for a in cells for b in cells if (a, b) != EMPTY)


def _after(column: Column, digits: Sequence[int]) -> Iterator[Column]:
    """What can stand to the left: a number that has ended does not begin again."""
    first, second = ((BLANK, *digits) if cell != BLANK else (BLANK,) for cell in column)
    return ((a, b) for a in first for b in second)


SETS = {"recursive-addition": addition}
