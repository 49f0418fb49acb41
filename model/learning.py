"""Learning curves out of metrics files, and how soon runs got there."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SOLVED = 0.1  # bits a sequence: what the paper's copy curve comes down to
Curve = list[tuple[float, float]]  # sequences seen, bits a sequence


def learning_curve(path: Path, measure: str = "wrong_bits") -> Curve:
    """Sequences seen against `measure`, from the training lines of a run's metrics.jsonl."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(row["sequences"], row[measure]) for row in rows if row["kind"] == "training"]


def sequences_to(curve: Sequence[tuple[float, float]], bits: float = SOLVED) -> float | None:
    """Sequences after which the curve came to `bits` and stayed there; None where it has not."""
    reached: float | None = None
    for sequences, value in curve:
        if value > bits:
            reached = None
        elif reached is None:
            reached = sequences
    return reached


def convergence(runs: Mapping[str, Sequence[tuple[float, float]]]) -> dict[str, Any]:
    """Of several runs of a task: which got to SOLVED bits and when, their median and spread."""
    found = {name: sequences_to(curve) for name, curve in runs.items()}
    solved = sorted(count for count in found.values() if count is not None)
    return {
        "solved_at_bits": SOLVED,
        "sequences_to_solve": found,
        "solved": len(solved),
        "runs": len(found),
        "median": statistics.median(solved) if solved else None,
        "range": [solved[0], solved[-1]] if solved else None,
    }


def transfer(found: Mapping[str, float | None], starts: Mapping[str, str]) -> dict[str, Any]:
    """What it brought to begin with another entry's weights, by run.

    found: sequences to solve, by run; starts: the entry that a run began with, "" for none. Each
    run that began with one: with which, its sequences, and their part of the median of those from
    scratch; None where there is none to compare with, or where it never solved the task.
    """
    scratch = [count for run, count in found.items() if not starts[run] and count is not None]
    usual = statistics.median(scratch) if scratch else None
    told: dict[str, Any] = {}
    for run, start in starts.items():
        count = found[run]
        if start:
            part = round(count / usual, 6) if count is not None and usual else None
            told[run] = {"start": start, "sequences_to_solve": count, "to_from_scratch": part}
    return told
