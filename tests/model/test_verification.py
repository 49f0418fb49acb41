"""The sets that prove recursive programs right, and what runs a core on them."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch

from model.families import load
from model.npi import NPI
from model.npi_core import NPICore, chosen
from model.npi_interpreter import Interpreter, trace
from model.npi_layout import LAYOUTS, RETURN, Decision
from model.npi_verified import Walk
from model.tasks import make_task
from model.tasks.problems import draw_lists, draw_numbers
from model.tasks.program_task import ProgramTask
from model.tasks.programs import PROGRAMS
from model.tasks.sights import Seen
from model.tasks.verification import Proof
from service.settings import ZOO

Call = tuple[str, tuple[tuple[Seen, Decision], ...]]  # what is called; what it sees and decides
RECURSIVE = ("recursive-addition", "recursive-bubble-sort")


def task_of(name: str) -> ProgramTask:
    return cast(ProgramTask, make_task(name))


def calls_of(task: ProgramTask, typed: list[tuple[int, ...]]) -> set[Call]:
    """The calls of a run, each from its beginning to its end."""
    layout, columns = task.layout, len(typed) + 1
    plain = Interpreter(layout, columns)
    for values in typed:
        plain.type(values)
    met: set[Call] = set()
    runs: list[tuple[str, list[tuple[Seen, Decision]]]] = [(layout.main, [])]
    for decision in trace(PROGRAMS[task.name], layout, columns, typed)[0]:
        runs[-1][1].append((tuple(plain.seen), decision))
        plain.carry_out(decision)
        if decision.program > 0:
            runs.append((layout.programs[decision.program], []))
        elif decision.program == RETURN:
            program, ticks = runs.pop()
            met.add((program, tuple(ticks)))
    return met


@pytest.mark.parametrize("name", RECURSIVE)
def test_all_that_calls_in_long_runs_see_and_do_is_in_the_set(name: str) -> None:
    task = task_of(name)
    proof, generator = task.verification(), torch.Generator().manual_seed(1)
    begins = proof.begins()
    draw, longest = (draw_numbers, 60) if "addition" in name else (draw_lists, 14)
    problems = [typed for length in (1, 2, 5, longest) for typed in draw(generator, 15, length)]
    met = set().union(*(calls_of(task, typed) for typed in problems))
    assert len(met) > 700 and {program for program, _ in met} == set(begins)
    for program, ticks in met:
        assert ticks[0][0] in begins[program]
        for (seen, decision), (then, _) in zip(ticks, ticks[1:], strict=False):
            assert then in proof.after(decision, seen), (program, decision, seen, then)
        # Of what was seen before, what was decided tells all: so one history stands for many.
        for number in range(len(ticks)):
            shown = [seen for seen, _ in ticks[: number + 1]]
            assert proof.decision(program, shown) == ticks[number][1]


def counted_singly(core: NPICore, proof: Proof, program: str, begins: list[Seen]) -> list[int]:
    """Decisions and how many are wrong, history by history."""
    number, found = core.layout.programs.index(program), [0, 0]
    one_hot = torch.eye(len(core.layout.programs))[number : number + 1]

    def follow(history: tuple[Seen, ...], frame: torch.Tensor) -> None:
        seen = torch.tensor([history[-1]], dtype=torch.float32)
        thought = core(seen, torch.zeros(1, 3), one_hot, frame)
        choice, right = chosen(thought.decision, core.layout), proof.decision(program, history)
        made = Decision(int(choice.program), *map(int, choice.arguments[0]))
        found[0] += 1
        found[1] += (Decision(RETURN) if choice.returns else made) != right
        if right.program != RETURN:
            for following in proof.after(right, history[-1]):
                follow((*history, following), thought.frame)

    for first in begins:
        follow((first,), torch.zeros(1, core.frame_size))
    return found


def test_a_core_is_taken_through_every_history_and_each_wrong_decision_is_counted() -> None:
    task = task_of("recursive-addition")
    proof, layout = task.verification(), task.layout
    core = cast(NPI, load(Path(ZOO) / task.name)[0]).core
    begins = {program: sorted(seen) for program, seen in proof.begins().items()}
    with torch.inference_mode():
        for spoilt in (False, True):
            if spoilt:  # it writes one digit for another
                core.argument.bias[-1] += 40
            walk, singly = Walk(core, proof), [0, 0]
            for program in ("ADD1", "CARRY"):
                few = begins[program][::4]
                walk.calls(program, few)
                one = counted_singly(core, proof, program, few)
                singly = [sum(pair) for pair in zip(singly, one, strict=True)]
            assert [walk.decisions, walk.wrong] == singly and walk.decisions > 200
            assert bool(walk.wrong) == spoilt == bool(walk.example)
    assert "where ACT write out" in walk.example and layout.programs[2] in walk.example


def test_a_proof_goes_on_in_parts_where_there_is_more_than_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proof = task_of("recursive-addition").verification()
    torch.manual_seed(1)
    core = NPICore(LAYOUTS["addition"], hidden_size=4, layers=1, width=4)
    begins, counts = sorted(proof.begins()["CARRY"]), list[tuple[int, int]]()
    with torch.inference_mode():
        for chunk in (8192, 7):
            monkeypatch.setattr("model.npi_verified.CHUNK", chunk)
            walk = Walk(core, proof)
            walk.calls("CARRY", begins)
            counts.append((walk.decisions, walk.wrong))
    assert counts[0] == counts[1] and counts[0][1] > 100


def test_only_recursive_programs_have_a_verification_set() -> None:
    with pytest.raises(ValueError, match="bubble-sort has no verification set; recursive-addition"):
        task_of("bubble-sort").verification()
