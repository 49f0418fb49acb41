"""The finite set that proves a recursive program right for every length.

Cai, Shi and Song 2017 (sec. 3.3): the core begins each call with a state of zeros, so what a call
does depends on nothing but its program and what it sees from its beginning to its end. A recursive
program sees a bounded part of its problem in one call, so all that any call can ever see is a
finite set; where every decision on it is right, induction does the rest. They run problems that
show all of the set; here it is told call by call (`sights.py`), and `npi_verified.py` runs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from model.npi_interpreter import Interpreter
from model.npi_layout import RETURN, Decision, Layout
from model.tasks.programs import PROGRAMS
from model.tasks.sights import SIGHTS, Seen


class Shown(Interpreter):
    """An interpreter whose pointers see what they are told to."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, columns=1)
        self.sight: Seen = ()

    def _at(self, pointer: int) -> int:
        return self.sight[pointer]


class Proof:
    """All calls of a recursive program of the name `name`, whose pad and programs are `layout`.

    Raises ValueError for a program of which it is not known what its calls can see.
    """

    def __init__(self, name: str, layout: Layout) -> None:
        if name not in SIGHTS:
            raise ValueError(f"{name} has no verification set; {', '.join(SIGHTS)} has")
        self.layout = layout
        self._sights, self._programs = SIGHTS[name], PROGRAMS[name]

    def decision(self, program: str, seen: Iterable[Seen]) -> Decision:
        """What is right for a call of `program` that has seen these, tick by tick."""
        at, decision = Shown(self.layout), Decision(RETURN)
        running = self._programs[program](at)
        for at.sight in seen:
            decision = next(running, Decision(RETURN))
        return decision

    def after(self, decision: Decision, seen: Seen) -> list[Seen]:
        """All that can be seen at the tick after this decision, which is not to return."""
        return sorted(set(self._sights.after(self.layout.told(decision), seen)))

    def begins(self) -> dict[str, set[Seen]]:
        """All that can be seen as a call begins, by what is called."""
        found = {self.layout.main: set(self._sights.first)}
        fresh = dict(found)
        while fresh:
            program, seen = fresh.popitem()
            for called, at in self._calls(program, seen):
                if at not in found.setdefault(called, set()):
                    found[called].add(at)
                    fresh.setdefault(called, set()).add(at)
        return found

    def _calls(self, program: str, seen: set[Seen]) -> Iterator[tuple[str, Seen]]:
        """What a call of `program` that begins at any of these calls, and what it sees then.

        Programs look before they decide: of what was seen earlier, what was decided tells all that
        matters, so that one history stands for all with the same decisions.
        """
        waiting: list[tuple[tuple[Seen, ...], set[Seen]]] = [((), seen)]
        while waiting:
            history, sights = waiting.pop()
            following: dict[Decision, tuple[tuple[Seen, ...], set[Seen]]] = {}
            for sight in sights:
                decision = self.decision(program, (*history, sight))
                if decision.program > 0:
                    yield self.layout.programs[decision.program], sight
                if decision.program != RETURN:
                    kept = following.setdefault(decision, ((*history, sight), set()))
                    kept[1].update(self.after(decision, sight))
            waiting += following.values()
