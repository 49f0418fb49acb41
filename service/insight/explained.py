"""What /explain answers: what each head did in each row, and what the rows come to."""

from __future__ import annotations

import msgspec


class Near(msgspec.Struct, frozen=True, gc=False):
    """A slot, and how like it is to a key: a cosine."""

    slot: int
    cosine: float


class Moved(msgspec.Struct, frozen=True, gc=False):
    """How far a state tensor moved in a row: the sum of |differences|."""

    name: str
    role: str
    by: float


class HeadRow(msgspec.Struct, frozen=True):
    """One head in one row. What a model's trace does not tell is null."""

    head: str  # "read", or "read 2" where there are several
    kind: str  # "read" or "write"
    slot: int  # of its largest weight
    weight: float
    spread: float  # exp(entropy) of its weights: over how many slots it looks
    # "content", "shift", "stays", "backward", "forward", "allocation", "reread", "nothing", "moved"
    way: str
    gate: float | None  # of that way: the share of content, of the mode, of free slots
    shift: int | None  # the likeliest
    strength: float | None  # of its key
    nearest: list[Near]  # slots to its key
    erase: float | None  # mean of the erase vector
    add: float | None  # length of the add vector
    change: float | None  # how far its slot moved
    lasts: int | None  # rows until what it wrote is lost; null: not within these rows
    age: int | None  # rows since what it reads was written; null: not within these rows


class Calls(msgspec.Struct, frozen=True):
    """What a row did to a stack of calls."""

    did: str  # "called", "returned" or "stayed"
    stack: list[
        list[float]
    ]  # the frames after the row, the lowest first; [] when all have returned
    told: dict[str, list[float]]  # trace tensors of the role program, by name


class Row(msgspec.Struct, frozen=True):
    """One consumed row; `moved` has the tensors that are neither memory nor weights. calls: null
    where the state has no stack."""

    step: int
    revision: int
    heads: list[HeadRow]
    moved: list[Moved]
    calls: Calls | None


class HeadSummary(msgspec.Struct, frozen=True):
    """One head over these rows. ways, moves: shares of the rows."""

    head: str
    kind: str
    focused: int  # slots that it was on
    effective: float  # exp(entropy) of its weights' sum
    ways: dict[str, float]
    moves: dict[str, float]  # by one slot back, none, by one on
    age: float | None  # mean
    lasts: float | None  # mean of the writes that were lost


class Explained(msgspec.Struct, frozen=True):
    """Oldest row first. slots: of the memory; 0 where the model has none."""

    incarnation: str
    slots: int
    rows: list[Row]
    heads: list[HeadSummary]
