"""Why a network did what it did, read off a traced run by the roles of its tensors. No torch.

No family is known here: what the manifest's roles say is explained, and the rest is left out.
"""

from __future__ import annotations

import numpy as np

from service.insight import run as runs
from service.insight.explained import Explained, HeadRow, HeadSummary, Moved, Row
from service.insight.run import FOCUSED, Head, Run
from service.insight.ways import nearest, way
from service.insight.writes import ages, amounts, lasts
from service.results import TraceResult

DRAWN = ("memory", "read_weights", "write_weights")  # told head by head


def explain(found: TraceResult) -> Explained:
    """What each head did in each row, and what the rows come to."""
    run = runs.of(found)
    heads = list(runs.heads(run))
    columns = [_head_rows(run, head, heads) for head in heads]
    rows = [
        Row(found.step + at, revision, [column[at] for column in columns], _moved(run, at))
        for at, revision in enumerate(found.revisions)
    ]
    slots = 0 if run.memory is None else run.memory.shape[1]
    told = [_summary(*pair) for pair in zip(heads, columns, strict=True)]
    return Explained(found.incarnation, slots, rows, told)


def _head_rows(run: Run, head: Head, heads: list[Head]) -> list[HeadRow]:
    lasting, old = lasts(run, head), ages(head, heads)
    return [
        HeadRow(
            head.name,
            head.kind,
            int(head.slots[at]),
            float(head.focus[at]),
            runs.spread(head.weights[at + 1]),
            *way(run, head, at),
            nearest(run, head, at),
            *amounts(run, head, at),
            lasting[at],
            old[at],
        )
        for at in range(len(head.slots))
    ]


def _moved(run: Run, at: int) -> list[Moved]:
    return [
        Moved(name, role, float(np.abs(array[at + 1] - array[at]).sum()))
        for name, (role, array) in run.state.items()
        if role not in DRAWN
    ]


def _summary(head: Head, rows: list[HeadRow]) -> HeadSummary:
    slots = head.weights.shape[1]
    went = np.diff(np.concatenate([head.weights[:1].argmax(1), head.slots]))
    went = (went + slots // 2) % slots - slots // 2  # round the ring, the short way
    ways = [row.way for row in rows]
    return HeadSummary(
        head.name,
        head.kind,
        len({row.slot for row in rows if row.weight > FOCUSED}),
        runs.spread(head.weights[1:].sum(0)),
        {name: ways.count(name) / len(ways) for name in sorted(set(ways))},
        {name: float((went == by).mean()) for name, by in (("back", -1), ("stays", 0), ("on", 1))},
        _mean([row.age for row in rows]),
        _mean([row.lasts for row in rows]),
    )


def _mean(values: list[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
