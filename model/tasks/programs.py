"""The programs that teach a neural programmer-interpreter: plain, symbolic, right by design.

Each is a generator of what it calls, told what it may look at: what the pointers see. Addition by
columns and bubble sort of Reed and de Freitas 2016 (sec. 4.1, 4.2, figs. 3 and 4), and the
recursive forms of Cai, Shi and Song 2017 (ICLR, arXiv 1704.06611, sec. 3.2).
"""

from __future__ import annotations

from collections.abc import Iterator

from model.npi_interpreter import Interpreter, Program
from model.npi_layout import BLANK, LAYOUTS, Decision

Calls = Iterator[Decision]

adder = LAYOUTS["addition"].call


def add(at: Interpreter) -> Calls:
    """Column by column, as long as there is something to add."""
    while _anything_to_add(at):
        yield adder("ADD1")
        yield adder("LSHIFT")


def add_recursively(at: Interpreter) -> Calls:
    """One column, then the rest by itself."""
    if _anything_to_add(at):
        yield adder("ADD1")
        yield adder("LSHIFT")
        yield adder("ADD")


def add1(at: Interpreter) -> Calls:
    """One column: the last digit of its sum, and a carry where it has two."""
    total = sum(max(at.see(name), 0) for name in ("first", "second", "carry"))
    yield adder("ACT", "write", "out", total % 10)
    if total > 9:
        yield adder("CARRY")


def carry(_: Interpreter) -> Calls:
    """A 1 into the carry row, one column to the left."""
    yield adder("ACT", "left", "carry")
    yield adder("ACT", "write", "carry", 1)
    yield adder("ACT", "right", "carry")


def left_shift(at: Interpreter) -> Calls:
    """All pointers one column to the left."""
    for name in at.layout.pointers:
        yield adder("ACT", "left", name)


def _anything_to_add(at: Interpreter) -> bool:
    return any(at.see(name) != BLANK for name in ("first", "second", "carry"))


ADDING: dict[str, Program] = {"ADD1": add1, "CARRY": carry, "LSHIFT": left_shift}
PROGRAMS: dict[str, dict[str, Program]] = {
    "addition": {"ADD": add, **ADDING},
    "recursive-addition": {"ADD": add_recursively, **ADDING},
}
