"""What was told of the latest rows of a few sessions, so that the next look runs none twice.

    kept         rows 41 ............ 168
    a look at    rows      60 ............ 172    runs 169 to 172, from the state after 168
    another at   rows                160 . 172    runs none

Who looks at a session asks several things of the same rows, and soon again of the rows since.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.engine.runtime import Floats
from service.engine.traced import Seen, TracedStep

MOST_RUNS = 4  # sessions, those that were looked at last
KEPT_ROWS = 256  # of a run that is gone on with, or as many as were last looked at
MOST_BYTES = 8 << 20  # of one run's tensors
MOST_ROWS = 1024  # run on from one state of the runtime's own: each is off by up to 1e-5

Key = tuple[str, str, str]  # tenant, session, incarnation


class Rows(NamedTuple):
    """Rows that follow from one another. step: of the first; inputs: (T, X), T >= 1."""

    step: int
    revisions: list[int]
    inputs: Floats


class Run(NamedTuple):
    """Rows, and every state and trace tensor of theirs. since: how many rows its last state is
    away from one of the runtime's own, T or more."""

    rows: Rows
    seen: Seen
    since: int

    def place(self, rows: Rows) -> int | None:
        """Where the first of the rows stands in this run, None where it does not."""
        at = rows.step - self.rows.step
        if not 0 <= at < len(self.rows.revisions):
            return None
        both = min(len(self.rows.revisions) - at, len(rows.revisions))
        # A store that lost revisions may have other rows under their numbers now.
        same = np.array_equal(self.rows.inputs[at : at + both], rows.inputs[:both])
        same = same and self.rows.revisions[at : at + both] == rows.revisions[:both]
        return at if same else None

    def has(self, rows: Rows) -> bool:
        """Does it end no earlier than the rows?"""
        return rows.step + len(rows.revisions) <= self.rows.step + len(self.rows.revisions)


class Looked:
    """The latest run of each of a few sessions."""

    def __init__(self) -> None:
        self._runs: OrderedDict[Key, Run] = OrderedDict()

    def find(self, key: Key, rows: Rows) -> Run | None:
        """The run that has the first of the rows and can be gone on with to the last."""
        run = self._runs.get(key)
        if run is None or run.place(rows) is None:
            return None
        more = rows.step + len(rows.revisions) - run.rows.step - len(run.rows.revisions)
        return run if run.since + max(more, 0) <= MOST_ROWS else None

    def keep(self, key: Key, run: Run) -> None:
        """Keep a run, in place of what was kept of the session."""
        self._runs[key] = run
        self._runs.move_to_end(key)
        while len(self._runs) > MOST_RUNS:
            self._runs.popitem(last=False)


def begun(step: TracedStep, state: Sequence[NDArray[Any]], rows: Rows) -> Run:
    """The rows run from the state before them, one array of dims a tensor."""
    return Run(rows, step.run(state, rows.inputs, *step.everything), len(rows.revisions))


def gone_on(step: TracedStep, run: Run, rows: Rows, most: int) -> Run:
    """A run with those of the rows that come after its last one, its last `most` rows at most."""
    known = run.rows.step + len(run.rows.revisions) - rows.step
    inputs = rows.inputs[known:]
    more = step.run([array[-1] for array in run.seen.state], inputs, *step.everything)
    seen = Seen(
        np.concatenate([run.seen.outputs, more.outputs]),
        [np.concatenate([a, b[1:]]) for a, b in zip(run.seen.state, more.state, strict=True)],
        [np.concatenate(pair) for pair in zip(run.seen.trace, more.trace, strict=True)],
    )
    revisions = run.rows.revisions + rows.revisions[known:]
    longer = Rows(run.rows.step, revisions, np.concatenate([run.rows.inputs, inputs]))
    return _cut(Run(longer, seen, run.since + len(inputs)), most)


def part(run: Run, rows: Rows, kept: Sequence[int], told: Sequence[int]) -> Seen:
    """What these rows of a run came to. kept, told: as of `TracedStep.run`."""
    begin = rows.step - run.rows.step
    end = begin + len(rows.revisions)
    return Seen(
        run.seen.outputs[begin:end],
        [run.seen.state[at][begin : end + 1] for at in kept],
        [run.seen.trace[at][begin:end] for at in told],
    )


def _cut(run: Run, most: int) -> Run:
    """The last `most` rows of a run, copied so that the others' memory is free."""
    begin = len(run.rows.revisions) - most
    if begin <= 0:
        return run
    rows = Rows(run.rows.step + begin, run.rows.revisions[begin:], run.rows.inputs[begin:].copy())
    seen = Seen(
        run.seen.outputs[begin:].copy(),
        [array[begin:].copy() for array in run.seen.state],
        [array[begin:].copy() for array in run.seen.trace],
    )
    return Run(rows, seen, run.since)
