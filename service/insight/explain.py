"""Why a network did what it did, read off a traced run by the roles of its tensors. No torch.

No family is known here: what the manifest's roles say is explained, and the rest is left out.
"""

from __future__ import annotations

import numpy as np

from service.insight import run as runs
from service.insight.calls import calls
from service.insight.explained import Explained, HeadRow, HeadSummary, Moved, Row
from service.insight.run import FOCUSED, Floats, Head, Run
from service.insight.ways import nearest, ways
from service.insight.writes import ages, amounts, lasts
from service.results import TraceResult

DRAWN = ("memory", "read_weights", "write_weights")  # told head by head


def explain(found: TraceResult) -> Explained:
    """What each head did in each row, and what the rows come to."""
    run = runs.of(found)
    heads = list(runs.heads(run))
    columns = [_head_rows(run, head, heads) for head in heads]
    called, moved = calls(run, len(found.revisions)), _moved(run, len(found.revisions))
    rows = [
        Row(found.step + at, revision, [column[at] for column in columns], moved[at], called[at])
        for at, revision in enumerate(found.revisions)
    ]
    slots = 0 if run.memory is None else run.memory.shape[1]
    told = [_summary(*pair) for pair in zip(heads, columns, strict=True)]
    return Explained(found.incarnation, slots, rows, told)


def _head_rows(run: Run, head: Head, heads: list[Head]) -> list[HeadRow]:
    looked = (head.slots.tolist(), head.focus.tolist(), runs.spread(head.weights[1:]).tolist())
    why = (ways(run, head), nearest(run, head), amounts(run, head))
    kept = (lasts(run, head), ages(head, heads))
    columns = zip(
        zip(*looked, strict=True), zip(*why, strict=True), zip(*kept, strict=True), strict=True
    )
    return [
        HeadRow(head.name, head.kind, *seen, *way, near, *amount, *lasting)
        for seen, (way, near, amount), lasting in columns
    ]


def _moved(run: Run, rows: int) -> list[list[Moved]]:
    told = [(name, *of) for name, of in run.state.items() if of[0] not in DRAWN]
    columns = [[Moved(name, role, by) for by in _by(array)] for name, role, array in told]
    return [[column[at] for column in columns] for at in range(rows)]


def _by(array: Floats) -> list[float]:
    """How far a tensor (T + 1, *dims) moved, one a row."""
    return np.abs(np.diff(array, axis=0)).reshape(len(array) - 1, -1).sum(1).tolist()


def _summary(head: Head, rows: list[HeadRow]) -> HeadSummary:
    slots = head.weights.shape[1]
    went = np.diff(np.concatenate([head.weights[:1].argmax(1), head.slots]))
    went = (went + slots // 2) % slots - slots // 2  # round the ring, the short way
    taken = [row.way for row in rows]
    return HeadSummary(
        head.name,
        head.kind,
        len({row.slot for row in rows if row.weight > FOCUSED}),
        float(runs.spread(head.weights[1:].sum(0))),
        {name: taken.count(name) / len(taken) for name in sorted(set(taken))},
        {name: float((went == by).mean()) for name, by in (("back", -1), ("stays", 0), ("on", 1))},
        _mean([row.age for row in rows]),
        _mean([row.lasts for row in rows]),
    )


def _mean(values: list[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
