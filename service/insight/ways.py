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


def way(run: Run, head: Head, at: int) -> Way:
    """What the head's gates say in a row.

    An NTM's g (its equation 7) mixes content with where the head was, which is then shifted. A
    DNC's writer has two: whether it writes at all, and how far to free slots rather than by
    content. Without any gate a head that emits a key looks by content.
    """
    shift = _shifted(emitted(run, head, "shift", at))
    strength = _number(emitted(run, head, "strength", at))
    shares = emitted(run, head, "gate", at)
    if shares is not None and shares.size == len(MODES):
        return Way(MODES[int(shares.argmax())], float(shares.max()), None, strength)
    allocation = _number(emitted(run, head, "gate", at, "_allocation"))
    if allocation is not None:
        return _of_two_gates(run, head, at, allocation, strength)
    gate = _number(shares)
    if gate is not None and gate <= FOCUSED and shift is not None:
        return Way("shift" if shift else "stays", gate, shift, strength)
    if gate is not None or emitted(run, head, "key", at) is not None:
        return Way("content", gate, shift, strength)
    stays = int(head.weights[at].argmax()) == int(head.slots[at])
    return Way("stays" if stays else "moved", None, shift, strength)


def nearest(run: Run, head: Head, at: int) -> list[Near]:
    """The slots that are most like the key, by cosine, in the memory that the head saw: a writer
    what was there before the row, a reader what is there after it."""
    key = emitted(run, head, "key", at)
    if key is None or run.memory is None or key.size != run.memory.shape[2]:
        return []
    memory = run.memory[at if head.kind == "write" else at + 1]
    norms = np.linalg.norm(memory, axis=1) * np.linalg.norm(key)
    like = memory @ key / np.maximum(norms, 1e-12)
    best = np.argsort(-like, kind="stable")[:NEAREST]
    return [Near(int(slot), float(like[slot])) for slot in best]


def _of_two_gates(run: Run, head: Head, at: int, allocation: float, strength: float | None) -> Way:
    writes = _number(emitted(run, head, "gate", at, "_gate"))
    if writes is not None and writes <= FOCUSED:
        return Way("nothing", writes, None, strength)
    kind = "allocation" if allocation > FOCUSED else "content"
    return Way(kind, allocation, None, strength)


def _shifted(shift: Floats | None) -> int | None:
    """The likeliest of shifts that stand in order, the middle one being none."""
    return None if shift is None else int(shift.argmax()) - shift.size // 2


def _number(values: Floats | None) -> float | None:
    return float(values[0]) if values is not None and values.size == 1 else None
