"""Runs models with sparsely updated tensors, the members of a batch one after the other.

A batch would need the members' tensors side by side, which is to copy all of them. Alone, a
member's step reads its tensor in its slot, and a dozen rows of it are changed there.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.rows import next_names, told_of
from model.state import StateSpec
from service.engine.bound import aligned
from service.engine.runtime import Floats, StepOutput
from service.engine.sparse_slots import SparseSlots

Array = NDArray[Any]
Slots = Any  # an array (S, *dims), or SparseSlots
Step = Callable[[list[Array]], Sequence[Array]]  # x and the state; y and what tells the next one
NOBODY = -1  # a slot beside all others, for members whose state is not kept


def onnx_step(session: Any, spec: StateSpec) -> Step:
    """One step of an ONNX session."""
    names, outputs = ["x", *(tensor.name for tensor in spec)], ["y", *next_names(spec)]

    def step(inputs: list[Array]) -> Sequence[Array]:
        return session.run(outputs, dict(zip(names, inputs, strict=True)))

    return step


def torchscript_step(program: bytes, threads: int) -> Step:
    """One step of a traced program. Load only what is trusted (NTM_TRUST_CODE=1)."""
    import torch

    torch.set_num_threads(threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # see torchscript.py
        loaded: Any = torch.jit.load(io.BytesIO(program), map_location="cpu").eval()

    @torch.inference_mode()
    def step(inputs: list[Array]) -> Sequence[Array]:
        return [part.numpy() for part in loaded(*map(torch.from_numpy, inputs))]

    return step


class OneByOne:
    """A backend on the host's memory, for a state with sparsely updated tensors.

    Its slots are arrays (S, *dims) as everywhere, and `SparseSlots` for those tensors.
    """

    device = "cpu"

    def __init__(self, name: str, step: Step, spec: StateSpec) -> None:
        self.name, self._step, self._spec = name, step, spec

    def allocate(self, spec: StateSpec, slots: int) -> list[Slots]:
        """See `Backend`."""
        return [
            SparseSlots(tensor)
            if tensor.update == "sparse"
            else np.zeros((slots, *tensor.dims), tensor.dtype)
            for tensor in spec
        ]

    def gather(self, arrays: Sequence[Slots], slots: Sequence[int]) -> list[Array]:
        """See `Backend`."""
        return [
            np.stack([array.read(slot) for slot in slots])
            if isinstance(array, SparseSlots)
            else array[list(slots)]
            for array in arrays
        ]

    def scatter(self, arrays: Sequence[Slots], slots: Sequence[int], state: list[Array]) -> None:
        """See `Backend`."""
        for array, rows in zip(arrays, state, strict=True):
            for slot, row in zip(slots, rows, strict=False):
                if isinstance(array, SparseSlots):
                    array.write(slot, row)
                else:
                    array[slot] = row

    def free(self, arrays: Sequence[Slots], slot: int) -> None:
        """See `Backend`."""
        for array in arrays:
            if isinstance(array, SparseSlots):
                array.free(slot)

    def run(
        self,
        arrays: Sequence[Slots],
        src: Sequence[int],
        dst: Sequence[int],
        x: Floats,
        watch: Sequence[int],
    ) -> StepOutput:
        """See `Backend`. Where one of `src` is another's of `dst`, it is read too late."""
        outputs: list[Floats] = []
        kept: list[list[Array]] = [[] for _ in watch]
        for member, rows in enumerate(x):
            slot = dst[member] if member < len(dst) else NOBODY
            y, seen = self._member(arrays, src[member], slot, rows, watch)
            outputs.append(y)
            for every, own in zip(kept, seen, strict=True):
                every.append(own)
        self.free(arrays, NOBODY)
        return StepOutput(np.stack(outputs), [np.stack(every) for every in kept])

    def _member(
        self, arrays: Sequence[Slots], src: int, slot: int, rows: Floats, watch: Sequence[int]
    ) -> tuple[Floats, list[Array]]:
        """rows: (K, X). Returns their outputs (K, Y), and (K, *dims) of each watched tensor."""
        state = [self._begin(array, src, slot) for array in arrays]
        outputs: list[Array] = []
        seen: list[list[Array]] = [[] for _ in watch]
        x = aligned((1, rows.shape[1]), "float32")
        for row in rows:
            x[0] = row
            y, *told = self._step([x, *state])
            outputs.append(y[0])
            for at, parts in enumerate(told_of(self._spec, told)):
                state[at] = self._next(arrays[at], slot, state[at], parts)
            for every, at in zip(seen, watch, strict=True):
                every.append(state[at][0].copy())
        for array, part in zip(arrays, state, strict=True):
            if slot != NOBODY and not isinstance(array, SparseSlots):
                array[slot] = part[0]
        return np.stack(outputs), [np.stack(every) for every in seen]

    def _begin(self, array: Slots, src: int, slot: int) -> Array:
        """The tensor (1, *dims) that a member begins with."""
        if isinstance(array, SparseSlots):
            array.advance(src, slot)
            return array.view(slot)[None]
        first = aligned((1, *array.shape[1:]), array.dtype.name)
        first[0] = array[src]
        return first

    def _next(self, array: Slots, slot: int, state: Array, parts: tuple[Array, ...]) -> Array:
        if not isinstance(array, SparseSlots):
            return parts[0]
        rows, indices = parts
        array.change(slot, indices[0], rows[0])
        return state  # a view of the slot

    def to_numpy(self, array: Array) -> Array:
        """See `Backend`."""
        return array

    def from_numpy(self, array: Array) -> Array:
        """See `Backend`."""
        return array

    def device_bytes(self) -> int | None:
        """See `Backend`."""
        return None
