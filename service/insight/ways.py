"""How a head came to where it looks: by content or by shift, and which slots are like its key."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from service.insight.explained import Near
from service.insight.run import FOCUSED, Floats, Head, Run, emitted

NEAREST = 3  # slots told of a key
MODES = ("backward", "content", "forward")  # a gate over three ways: the read modes of a DNC


class Way(NamedTuple):
    """As in `HeadRow`."""

    way: str
    gate: float | None
    shift: int | None
    strength: float | None


def ways(run: Run, head: Head) -> list[Way]:
    """What the head's gates say, one a row.

    An NTM's g (its equation 7) mixes content with where the head was, which is then shifted. A
    DNC's writer has two: whether it writes at all, and how far to free slots rather than by
    content. A writer with a gate, but neither key nor shift, goes back to what was read in the row
    before, or else to the slot that is used least (Santoro et al. 2016, eq. 7). Without any gate a
    head that emits a key looks by content.
    """
    rows = len(head.slots)
    shifts = _shifted(emitted(run, head, "shift"), rows)
    strengths = _numbers(emitted(run, head, "strength"), rows)
    shares = emitted(run, head, "gate")
    if shares is not None and shares.shape[1] == len(MODES):
        best = zip(shares.argmax(1).tolist(), shares.max(1).tolist(), strengths, strict=True)
        return [Way(MODES[mode], share, None, strength) for mode, share, strength in best]
    allocations = _numbers(emitted(run, head, "gate", "_allocation"), rows)
    if None not in allocations:
        writes = _numbers(emitted(run, head, "gate", "_gate"), rows)
        return list(map(_of_two_gates, writes, allocations, strengths))
    keyed = emitted(run, head, "key") is not None
    stays = (head.weights[:-1].argmax(1) == head.slots).tolist()
    each = zip(_numbers(shares, rows), shifts, strengths, stays, strict=True)
    return [_of_one_gate(head.kind, keyed, *row) for row in each]


def nearest(run: Run, head: Head) -> list[list[Near]]:
    """The slots that are most like the key, by cosine, one list a row, in the memory that the head
    saw: a writer what was there before the row, a reader what is there after it."""
    keys, memory = emitted(run, head, "key"), run.memory
    if keys is None or memory is None or keys.shape[1] != memory.shape[2]:
        return [[] for _ in head.slots]
    seen = memory[:-1] if head.kind == "write" else memory[1:]
    mask = emitted(run, head, "other", "_mask")
    if mask is not None:  # only these parts of a word are compared
        keys, seen = keys * mask, seen * mask[:, None]
    norms = np.sqrt(np.einsum("tnm,tnm->tn", seen, seen)) * np.linalg.norm(keys, axis=1)[:, None]
    like = (seen @ keys[:, :, None])[:, :, 0] / np.maximum(norms, 1e-12)
    best = np.argsort(-like, axis=1, kind="stable")[:, :NEAREST]
    cosines = np.take_along_axis(like, best, 1)
    pairs = zip(best.tolist(), cosines.tolist(), strict=True)
    return [list(map(Near, slots, told)) for slots, told in pairs]


def _of_one_gate(
    kind: str,
    keyed: bool,
    gate: float | None,
    shift: int | None,
    strength: float | None,
    stays: bool,
) -> Way:
    if gate is not None and gate <= FOCUSED and shift is not None:
        return Way("shift" if shift else "stays", gate, shift, strength)
    if kind == "write" and gate is not None and not keyed and shift is None:
        return (
            Way("reread", gate, None, None)
            if gate > FOCUSED
            else Way("allocation", 1 - gate, None, None)
        )
    if gate is not None or keyed:
        return Way("content", gate, shift, strength)
    return Way("stays" if stays else "moved", None, shift, strength)


def _of_two_gates(writes: float | None, allocation: float | None, strength: float | None) -> Way:
    if writes is not None and writes <= FOCUSED:
        return Way("nothing", writes, None, strength)
    allocates = allocation is not None and allocation > FOCUSED
    return Way("allocation" if allocates else "content", allocation, None, strength)


def _shifted(shift: Floats | None, rows: int) -> list[int | None]:
    """The likeliest of shifts that stand in order, the middle one being none; one a row."""
    if shift is None:
        return [None] * rows
    return (shift.argmax(1) - shift.shape[1] // 2).tolist()


def _numbers(values: Floats | None, rows: int) -> list[float | None]:
    """One number a row, None where it emits none or several."""
    return values[:, 0].tolist() if values is not None and values.shape[1] == 1 else [None] * rows
