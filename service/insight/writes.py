"""What heads wrote: how much of it, how long it lasts, how old it is when it is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from service.insight.run import FOCUSED, Floats, Head, Run, emitted

LOST = 0.5  # what was written is lost where its slot moved from it by more than this share of it


class Amounts(NamedTuple):
    """As in `HeadRow`."""

    erase: float | None
    add: float | None
    change: float | None


def amounts(run: Run, head: Head) -> list[Amounts]:
    """How much a writer erased and added, and how far the slot that it is on moved; one a row."""
    rows, nothing = len(head.slots), [None] * len(head.slots)
    if head.kind != "write":
        return [Amounts(None, None, None)] * rows
    erase, add, memory = emitted(run, head, "erase"), emitted(run, head, "add"), _memory(run, head)
    at = np.arange(rows)
    change = None if memory is None else memory[at + 1, head.slots] - memory[at, head.slots]
    told = (
        nothing if erase is None else erase.mean(1).tolist(),
        nothing if add is None else np.linalg.norm(add, axis=1).tolist(),
        nothing if change is None else np.linalg.norm(change, axis=1).tolist(),
    )
    return list(map(Amounts, *told))


def lasts(run: Run, head: Head) -> list[int | None]:
    """How many rows a focused write stays in its slot, one a row: see model/analysis.py.

    None where it is still there after the last row, or where nothing was written with focus.
    """
    memory, found = _memory(run, head), list[int | None]()
    for at, (slot, focus) in enumerate(zip(head.slots, head.focus, strict=True)):
        if memory is None or head.kind != "write" or focus <= FOCUSED:
            found.append(None)
            continue
        later = memory[at + 1 :, slot]
        moved = np.linalg.norm(later - later[0], axis=1) > LOST * np.linalg.norm(later[0])
        found.append(int(moved.argmax()) if moved.any() else None)
    return found


def ages(head: Head, heads: Sequence[Head]) -> list[int | None]:
    """Rows since a writer was last focused on the slot that a focused reader reads, one a row.

    None where none was, in these rows.
    """
    written: dict[int, int] = {}
    found: list[int | None] = []
    for at, (slot, focus) in enumerate(zip(head.slots, head.focus, strict=True)):
        for writer in heads:
            if writer.kind == "write" and writer.focus[at] > FOCUSED:
                written[int(writer.slots[at])] = at
        since = written.get(int(slot))
        reads = head.kind == "read" and focus > FOCUSED
        found.append(at - since if reads and since is not None else None)
    return found


def _memory(run: Run, head: Head) -> Floats | None:
    """The memory where the head's weights are over its slots."""
    memory = run.memory
    return memory if memory is not None and memory.shape[1] == head.weights.shape[1] else None
