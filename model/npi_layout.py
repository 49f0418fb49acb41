"""What a neural programmer-interpreter's rows say, by place, of its programs and pad. No torch.

A decision is the network's answer at one tick: return, or call a program with three arguments.
Program 0 is ACT, the only one that does something to the scratch pad by itself.

    decision   return | a flag a program | a flag an action | a flag a pointer | a flag a value
    y          decision | halted | overflow
    x          decision, to be carried out in place of the network's own | typed | values
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal, NamedTuple

import msgspec

BLANK = -1  # what a cell without a digit holds
DIGITS = 10
ACT = "ACT"
ACTIONS = ("none", "left", "right", "write", "swap")
VALUES = ("none", *map(str, range(DIGITS)))
RETURN = -1  # as a decision's program
FLAGS = 2  # halted, overflow
OFF = 20.0  # -OFF and OFF are the logits of flags that are certain


class Decision(NamedTuple):
    """A program with its arguments, each by number; program RETURN: return instead."""

    program: int
    action: int = 0
    pointer: int = 0  # 0: none, k + 1: pointer k
    value: int = 0  # 0: none, d + 1: the digit d


class Layout(msgspec.Struct, frozen=True, dict=True):
    """The names of a task's programs and of its pad; their numbers decide every size.

    programs: ACT first; pointers: each on the row of `pad_rows` that `on_row` says; typed: how
    many rows, from the first on, a typed row of x fills; answer: the row it is on in the end;
    side: where typed values come in, pushing what is there away from it, and where the pointers
    begin.
    """

    programs: tuple[str, ...]
    main: str
    pad_rows: tuple[str, ...]
    pointers: tuple[str, ...]
    on_row: tuple[int, ...]
    typed: int
    answer: str
    side: Literal["left", "right"]

    @cached_property
    def arguments(self) -> dict[str, tuple[str, ...]]:
        """The three arguments by name, and what each can be."""
        return {"action": ACTIONS, "pointer": ("none", *self.pointers), "value": VALUES}

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Flags of a decision's parts: return, program, action, pointer, value."""
        return (1, len(self.programs), *(len(choices) for choices in self.arguments.values()))

    @cached_property
    def decision_size(self) -> int:
        """Flags of a decision."""
        return sum(self.widths)

    @property
    def input_size(self) -> int:
        """X: a decision, the flag of a typed row, its values."""
        return self.decision_size + 1 + self.typed

    @property
    def output_size(self) -> int:
        """Y: a decision and two flags."""
        return self.decision_size + FLAGS

    def call(
        self, program: str, action: str = "none", pointer: str = "none", value: int = BLANK
    ) -> Decision:
        """The decision that calls `program`, by names; value: a digit or BLANK."""
        of = self.arguments
        numbers = (of["action"].index(action), of["pointer"].index(pointer), value + 1)
        return Decision(self.programs.index(program), *numbers)

    def flags(self, decision: Decision) -> list[int]:
        """The places of a decision's flags. One that returns has, besides, those of ACT without an
        action: of each part one is on, as a softmax over it has to have it."""
        if decision.program == RETURN:
            return [0, *self.flags(Decision(0))]
        starts = self._starts[1:]
        return [start + number for start, number in zip(starts, decision, strict=True)]

    def decide(self, row: list[float]) -> Decision:
        """What the interpreter makes of a row of y: return from one half on, else the largest."""
        if row[0] > 0.5:
            return Decision(RETURN)
        parts = [row[at : at + size] for at, size in zip(self._starts, self.widths, strict=True)]
        return Decision(*(part.index(max(part)) for part in parts[1:]))

    def told(self, decision: Decision) -> str:
        """A decision for people, e.g. `ACT write out 7`."""
        if decision.program == RETURN:
            return "return"
        choices = zip(self.arguments.values(), decision[1:], strict=True)
        words = [names[number] for names, number in choices if number]
        return " ".join([self.programs[decision.program], *words])

    def halted(self, row: list[float]) -> bool:
        """Has the interpreter come to its end by this row of y?"""
        return max(row[self.decision_size :]) > 0.5

    @property
    def form(self) -> dict[str, Any]:
        """What rows mean, for clients: names by place. See model/README.md, NPI."""
        size, names = self.decision_size, ("return", "program", *self.arguments)
        spans = {
            name: [at, at + width]
            for name, at, width in zip(names, self._starts, self.widths, strict=True)
        }
        return {
            "numbers": list(self.pad_rows[: self.typed]),
            "answer": {"tensor": "pad", "row": self.answer},
            "programs": list(self.programs),
            "arguments": {name: list(choices) for name, choices in self.arguments.items()},
            "output": spans | {"halted": [size, size + 1], "overflow": [size + 1, size + 2]},
            "input": {"decision": [0, size], "typed": size, "values": [size + 1, self.input_size]},
            "pad": {"tensor": "pad", "rows": list(self.pad_rows), "blank": BLANK},
            "pointers": {"tensor": "pointers", "names": list(self.pointers)},
            "side": self.side,
        }

    @cached_property
    def _starts(self) -> tuple[int, ...]:
        return tuple(sum(self.widths[:number]) for number in range(len(self.widths)))


LAYOUTS = {
    "addition": Layout(
        programs=(ACT, "ADD", "ADD1", "CARRY", "LSHIFT"),
        main="ADD",
        pad_rows=("first", "second", "carry", "out"),
        pointers=("first", "second", "carry", "out"),
        on_row=(0, 1, 2, 3),
        typed=2,
        answer="out",
        side="right",
    ),
    "sorting": Layout(
        programs=(ACT, "BUBBLESORT", "BUBBLE", "RESET", "BSTEP", "COMPSWAP", "LSHIFT", "RSHIFT"),
        main="BUBBLESORT",
        pad_rows=("list",),
        pointers=("one", "two", "passes"),
        on_row=(0, 0, 0),
        typed=1,
        answer="list",
        side="left",
    ),
}
