"""Slots of a sparsely updated tensor: a step changes a few rows of it where they are.

A slot's tensor may be too large to copy at each step, yet a step must leave the slot it came from
as it was until its commit. So the newest slot has the tensor, and the one it came from has the rows
that were there before (Baker 1978, "Shallow binding in Lisp 1.5"):

    advance(3, 7)   slot 7 has the tensor, slot 3 is slot 7 with nothing put back
    change(7, ...)  rows of slot 7 are overwritten; slot 3 is slot 7 with these rows put back
    free(3)         a commit: what was to be put back is forgotten
    free(7)         an abort: it is put back, and slot 3 has the tensor again

A tensor is copied whole where two go on from one slot: once a fork, and once a session where other
sessions begin too; and where a request has changed as many rows as there are, for then a copy is
smaller than what would be put back.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.state import TensorSpec
from service.engine.bound import aligned

Array = NDArray[Any]


class Behind(NamedTuple):
    """A slot that is the one `ahead` of it with rows put back, the last first."""

    ahead: int
    rows: list[tuple[Array, Array]]  # indices (R,) and what was there (R, *dims[1:])


class SparseSlots:
    """One tensor's slots. A slot that was never written has zeros."""

    def __init__(self, spec: TensorSpec) -> None:
        self._spec = spec
        self._own: dict[int, Array] = {}  # slots that have a tensor
        self._behind: dict[int, Behind] = {}  # slots that have not; at most one behind each
        self._follower: dict[int, int] = {}  # the slot ahead -> the one behind it
        self._spare: list[Array] = []
        self.copies = 0  # whole tensors that were copied from slot to slot

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors, those kept for later use included."""
        return self._spec.nbytes * (len(self._own) + len(self._spare))

    def view(self, slot: int) -> Array:
        """The tensor of a slot that has it. Whoever is given it must not write to it."""
        return self._own[slot]

    def read(self, slot: int) -> Array:
        """A slot's tensor (*dims), a copy."""
        behind = self._behind.get(slot)
        if behind is None:
            own = self._own.get(slot)
            return np.zeros(self._spec.dims, self._spec.dtype) if own is None else own.copy()
        whole = self._own[behind.ahead].copy()
        _put_back(whole, behind.rows)
        return whole

    def write(self, slot: int, whole: Array) -> None:
        """Overwrite a slot. whole: (*dims)."""
        self.free(slot)
        self._own[slot] = self._empty()
        self._own[slot][...] = whole

    def advance(self, src: int, dst: int) -> None:
        """Slot `dst` has the tensor of slot `src` from now on, and may be changed."""
        if src == dst and src in self._own:
            return
        if src in self._own and src not in self._follower:
            self.free(dst)
            self._own[dst] = self._own.pop(src)
            self._behind[src], self._follower[dst] = Behind(dst, []), src
        else:
            self.copies += src in self._own or src in self._behind
            self.write(dst, self.read(src))

    def change(self, slot: int, indices: Array, rows: Array) -> None:
        """Overwrite rows of a slot that was advanced to. indices: (R,); rows: (R, *dims[1:])."""
        own, follower = self._own[slot], self._follower.get(slot)
        if follower is not None:
            self._keep(follower, indices, own[indices])
        own[indices] = rows

    def _keep(self, follower: int, indices: Array, before: Array) -> None:
        """What is to be put back for a slot to be as it was, if that is not all of it by now."""
        kept = self._behind[follower].rows
        if len(kept) * len(indices) < self._spec.dims[0]:
            kept.append((indices, before))
            return
        self.copies += 1
        self.write(follower, self.read(follower))

    def free(self, slot: int) -> None:
        """The slot's content is nobody's any more."""
        behind = self._behind.pop(slot, None)
        if behind is not None:
            del self._follower[behind.ahead]
        own, follower = self._own.pop(slot, None), self._follower.pop(slot, None)
        if own is None:
            return
        if follower is None:
            self._spare.append(own)
        else:
            _put_back(own, self._behind.pop(follower).rows)
            self._own[follower] = own

    def _empty(self) -> Array:
        return self._spare.pop() if self._spare else aligned(self._spec.dims, self._spec.dtype)


def _put_back(whole: Array, rows: list[tuple[Array, Array]]) -> None:
    for indices, before in reversed(rows):
        whole[indices] = before
