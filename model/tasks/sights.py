"""What the calls of a recursive program can see, all of it, on problems of any length.

Never less than what some problem can show, which a test holds against runs, and now and then more:
what is proved by it (`verification.py`) is so all the more. What is seen is what the pointers see,
in the layout's order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import NamedTuple

from model.npi_layout import BLANK, DIGITS

Seen = tuple[int, ...]
FIGURES = range(DIGITS)
CELLS = (BLANK, *FIGURES)
CARRIES = (BLANK, 1)


class Sights(NamedTuple):
    """first: all that the main program can see as a run begins; after(call, seen): all that can be
    seen once a call has come back that was made at `seen`. A call is told as `Layout.told` does.
    """

    first: tuple[Seen, ...]
    after: Callable[[str, Seen], Iterable[Seen]]


def _added(call: str, seen: Seen) -> Iterable[Seen]:
    """seen: (first, second, carry, out), of one column but for pointers that have moved on."""
    first, second, carry, out = seen
    total = sum(max(value, 0) for value in (first, second, carry))
    match call.split():
        case ["ACT", "write", "out", value]:
            return [(first, second, carry, int(value))]
        case ["ACT", "write", "carry", value]:
            return [(first, second, int(value), out)]
        case ["ACT", "left", "first"]:
            return [(value, second, carry, out) for value in _beside(first)]
        case ["ACT", "left", "second"]:
            return [(first, value, carry, out) for value in _beside(second)]
        case ["ACT", _, "carry"]:
            return [(first, second, value, out) for value in CARRIES]
        case ["ACT", "left", "out"]:
            return [(first, second, carry, BLANK)]
        case ["ADD1"]:
            return [(first, second, carry, total % 10)]
        case ["LSHIFT"]:
            carried = CARRIES[total > 9]
            return product(_beside(first), _beside(second), [carried], [BLANK])
        case ["ADD"]:
            return [(BLANK,) * 4]  # behind the last carry
        case _:  # CARRY comes back to where it was called
            return [seen]


def _beside(cell: int) -> Iterable[int]:
    """To the left of it: a number that has ended does not begin again."""
    return CELLS if cell != BLANK else (BLANK,)


def _sorted(call: str, seen: Seen) -> Iterable[Seen]:
    """seen: (one, two, passes), pointer two a cell behind one or, between passes, at the same; a
    pass leaves pointer one at the list's largest value."""
    one, two, passes = seen
    match call.split():
        case ["ACT", "swap"]:
            return [(two, one, {one: two, two: one}.get(passes, passes)), (two, one, passes)]
        case ["ACT", "right", "one"]:
            return [(two, two, passes)]
        case ["ACT", "right", "two"]:
            return [(one, value, passes) for value in CELLS]
        case ["ACT", "right", "passes"]:
            return [(one, two, value) for value in CELLS]
        case ["ACT", "left", "one"]:
            return [(value, two, passes) for value in CELLS]
        case ["ACT", "left", "two"]:
            return [(one, value, passes) for value in FIGURES]
        case ["COMPSWAP"]:
            return _sorted("ACT swap", seen) if one > two else [seen]
        case ["RSHIFT"]:
            return [(two, value, passes) for value in CELLS]
        case ["BUBBLE"] | ["BSTEP"] if two != BLANK:
            tops = range(max(seen), DIGITS)
            return [(top, BLANK, value) for top in tops for value in range(top + 1)]
        case ["LSHIFT"] if one != BLANK:
            return [(BLANK, value, passes) for value in FIGURES]
        case ["RESET"]:
            return [(low, low, v) for low in range(one + 1) for v in range(BLANK, one + 1)]
        case ["BUBBLESORT"] if passes != BLANK:
            return [(least, least, BLANK) for least in range(one + 1)]
        case _:  # what found nothing left to do
            return [seen]


SIGHTS = {
    "recursive-addition": Sights(tuple(product(CELLS, CELLS, (BLANK,), (BLANK,))), _added),
    "recursive-bubble-sort": Sights(tuple((value,) * 3 for value in CELLS), _sorted),
}
