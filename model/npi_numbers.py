"""Numbers for a neural programmer-interpreter, and what it made of them. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from model.npi_layout import BLANK, Layout

Row = list[float]


def digits_of(number: int) -> list[int]:
    """The digits of a number, the first first. Raises ValueError for one below 0."""
    if number < 0:
        raise ValueError(f"number must be at least 0, got {number}")
    return [int(digit) for digit in str(number)]


def typed_columns(numbers: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """Numbers, digits first to last, as columns first to last; in front of shorter ones: BLANK."""
    columns = zip_longest(*(reversed(digits) for digits in numbers), fillvalue=BLANK)
    return list(reversed(list(columns)))


def typed_list(values: Sequence[int]) -> list[tuple[int, ...]]:
    """A list, first to last, as what is typed at the left side: the last value first."""
    return [(value,) for value in reversed(values)]


def typed_rows(layout: Layout, values: Iterable[Sequence[int]]) -> list[Row]:
    """Rows of x that type these values, one after the other."""
    decision = [0.0] * layout.decision_size
    return [[*decision, 1.0, *map(float, row)] for row in values]


def ticks(layout: Layout, count: int) -> list[Row]:
    """Rows of x that let the interpreter go on."""
    return [[0.0] * layout.input_size for _ in range(count)]


def pad_of(layout: Layout, columns: int, numbers: Sequence[Sequence[int]]) -> list[list[float]]:
    """The pad with these numbers on its first rows: the tensor `pad` of a session's first state.

    Raises ValueError where they are more, or longer, than it has room for.
    """
    longest = max((len(digits) for digits in numbers), default=0)
    if len(numbers) > len(layout.pad_rows) or longest > columns:
        room = f"{len(layout.pad_rows)} numbers of {columns} digits"
        raise ValueError(f"expected at most {room}, got {len(numbers)}, the longest of {longest}")
    pad: list[list[float]] = []
    for digits in [*numbers, *[[]] * (len(layout.pad_rows) - len(numbers))]:
        blanks, held = [float(BLANK)] * (columns - len(digits)), [float(digit) for digit in digits]
        pad.append(blanks + held if layout.side == "right" else held + blanks)
    return pad


def number_on(row: Sequence[float]) -> int | None:
    """The number that a row of a pad holds, blanks left out; None where it is blank."""
    digits = [str(round(cell)) for cell in row if round(cell) != BLANK]
    return int("".join(digits)) if digits else None


def call_tree(layout: Layout, outputs: Iterable[Sequence[float]]) -> list[str]:
    """What a session did, a line a call, set in by depth, from its outputs: rows of y.

    Rows that decided nothing (typed ones, and those after the end) are left out.
    """
    lines, depth = [layout.main], 1
    for row in outputs:
        decided = list(row)
        if max(decided[: layout.decision_size]) <= 1e-6:
            continue
        decision = layout.decide(decided)
        if decision.program < 0:
            depth -= 1
            continue
        lines.append("  " * depth + layout.told(decision))
        depth += decision.program > 0
    return lines
