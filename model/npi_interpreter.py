"""The interpreter in plain Python, for one run: what teachers run on, and what tests hold the
network's tensors against. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from model.npi_layout import ACTIONS, BLANK, RETURN, Decision, Layout

Program = Callable[["Interpreter"], Iterator[Decision]]  # what it calls, one after the other


class Interpreter:
    """A pad, its pointers and a stack of the programs that run, each with its arguments."""

    def __init__(self, layout: Layout, columns: int) -> None:
        self.layout, self.columns = layout, columns
        self.pad = [[BLANK] * columns for _ in layout.pad_rows]
        self.pointers = [columns - 1 if layout.side == "right" else 0] * len(layout.pointers)
        self.stack = [Decision(layout.programs.index(layout.main))]

    @property
    def seen(self) -> list[int]:
        """What each pointer sees; BLANK off the pad."""
        return [self._at(number) for number in range(len(self.pointers))]

    def see(self, pointer: str) -> int:
        """What the pointer of this name sees."""
        return self._at(self.layout.pointers.index(pointer))

    def type(self, values: Sequence[int]) -> None:
        """Values come in at the layout's side, one a row, and push on what is there."""
        for row, value in zip(self.pad, values, strict=False):
            if self.layout.side == "right":
                row[:] = [*row[1:], value]
            else:
                row[:] = [value, *row[:-1]]

    def carry_out(self, decision: Decision) -> None:
        """One tick: return, act on the pad, or call."""
        if decision.program == RETURN:
            self.stack.pop()
        elif decision.program == 0:
            self._act(decision)
        else:
            self.stack.append(decision)

    def _act(self, decision: Decision) -> None:
        action, pointer = ACTIONS[decision.action], decision.pointer - 1
        if action == "swap":
            one, two = self.seen[:2]
            self._write(0, two)
            self._write(1, one)
        elif pointer >= 0 and action == "write":
            self._write(pointer, decision.value + BLANK)
        elif pointer >= 0 and action != "none":
            moved = self.pointers[pointer] + (1 if action == "right" else -1)
            self.pointers[pointer] = min(max(moved, -1), self.columns)

    def _at(self, pointer: int) -> int:
        column = self.pointers[pointer]
        inside = 0 <= column < self.columns
        return self.pad[self.layout.on_row[pointer]][column] if inside else BLANK

    def _write(self, pointer: int, value: int) -> None:
        column = self.pointers[pointer]
        if 0 <= column < self.columns:
            self.pad[self.layout.on_row[pointer]][column] = value


def trace(
    programs: dict[str, Program], layout: Layout, columns: int, typed: Iterable[Sequence[int]]
) -> tuple[list[Decision], Interpreter]:
    """Every decision of a run of the main program after these values were typed, the last return
    included, and the interpreter at its end. programs: by name, all but ACT."""
    interpreter = Interpreter(layout, columns)
    for values in typed:
        interpreter.type(values)
    running = [programs[layout.main](interpreter)]
    told: list[Decision] = []
    while running:
        decision = next(running[-1], None)
        if decision is None:
            decision = Decision(RETURN)
            running.pop()
        elif decision.program:
            running.append(programs[layout.programs[decision.program]](interpreter))
        told.append(decision)
        interpreter.carry_out(decision)
    return told, interpreter
