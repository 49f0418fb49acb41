"""The programs that teach a neural programmer-interpreter: plain, symbolic, right by design.

Each is a generator of what it calls, told what it may look at: what the pointers see. It looks
again before each call and keeps nothing of what it saw, which `verification.py` relies on. Addition
by columns and bubble sort of Reed and de Freitas 2016 (sec. 4.1, 4.2, figs. 3 and 4), and the
recursive forms of Cai, Shi and Song 2017 (ICLR, arXiv 1704.06611, sec. 3.2).
"""

from __future__ import annotations

from collections.abc import Iterator

from model.npi_interpreter import Interpreter, Program
from model.npi_layout import BLANK, LAYOUTS, Decision

Calls = Iterator[Decision]

adder, sorter = LAYOUTS["addition"].call, LAYOUTS["sorting"].call


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
    yield adder("ACT", "write", "out", _total(at) % 10)
    if _total(at) > 9:
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


def _total(at: Interpreter) -> int:
    return sum(max(at.see(name), 0) for name in ("first", "second", "carry"))


def _anything_to_add(at: Interpreter) -> bool:
    return any(at.see(name) != BLANK for name in ("first", "second", "carry"))


def bubble_sort(at: Interpreter) -> Calls:
    """A pass over the list for each value in it."""
    while at.see("passes") != BLANK:
        yield sorter("BUBBLE")
        yield sorter("RESET")


def bubble_sort_recursively(at: Interpreter) -> Calls:
    """A pass, then the others by itself."""
    if at.see("passes") != BLANK:
        yield sorter("BUBBLE")
        yield sorter("RESET")
        yield sorter("BUBBLESORT")


def bubble(at: Interpreter) -> Calls:
    """A pass: each pair of neighbours, from left to right."""
    yield sorter("ACT", "right", "two")
    while at.see("two") != BLANK:
        yield sorter("BSTEP")


def bubble_once(_: Interpreter) -> Calls:
    """The same, where BSTEP goes on by itself."""
    yield sorter("ACT", "right", "two")
    yield sorter("BSTEP")


def bubble_step(_: Interpreter) -> Calls:
    """A pair, then on to the next."""
    yield sorter("COMPSWAP")
    yield sorter("RSHIFT")


def bubble_step_recursively(at: Interpreter) -> Calls:
    """A pair and those after it."""
    if at.see("two") != BLANK:
        yield sorter("COMPSWAP")
        yield sorter("RSHIFT")
        yield sorter("BSTEP")


def compare_and_swap(at: Interpreter) -> Calls:
    """The smaller to the left."""
    if at.see("one") > at.see("two"):
        yield sorter("ACT", "swap")


def right_shift(_: Interpreter) -> Calls:
    """Both pointers to the right."""
    yield sorter("ACT", "right", "one")
    yield sorter("ACT", "right", "two")


def shift_back(_: Interpreter) -> Calls:
    """Both pointers to the left."""
    yield sorter("ACT", "left", "one")
    yield sorter("ACT", "left", "two")


def shift_back_recursively(at: Interpreter) -> Calls:
    """Both pointers to the left until the first has left the list."""
    if at.see("one") != BLANK:
        yield from shift_back(at)
        yield sorter("LSHIFT")


def reset(at: Interpreter) -> Calls:
    """Both pointers back to where the list begins; one pass more is done."""
    while at.see("one") != BLANK:
        yield sorter("LSHIFT")
    yield sorter("ACT", "right", "one")
    yield sorter("ACT", "right", "passes")


def reset_once(_: Interpreter) -> Calls:
    """The same, where LSHIFT goes on by itself."""
    yield sorter("LSHIFT")
    yield sorter("ACT", "right", "one")
    yield sorter("ACT", "right", "passes")


ADDING: dict[str, Program] = {"ADD1": add1, "CARRY": carry, "LSHIFT": left_shift}
SORTING: dict[str, Program] = {"COMPSWAP": compare_and_swap, "RSHIFT": right_shift}
PROGRAMS: dict[str, dict[str, Program]] = {
    "addition": {"ADD": add, **ADDING},
    "recursive-addition": {"ADD": add_recursively, **ADDING},
    "bubble-sort": {
        "BUBBLESORT": bubble_sort,
        "BUBBLE": bubble,
        "BSTEP": bubble_step,
        "RESET": reset,
        "LSHIFT": shift_back,
        **SORTING,
    },
    "recursive-bubble-sort": {
        "BUBBLESORT": bubble_sort_recursively,
        "BUBBLE": bubble_once,
        "BSTEP": bubble_step_recursively,
        "RESET": reset_once,
        "LSHIFT": shift_back_recursively,
        **SORTING,
    },
}
