"""Runs rows of many sessions as one batch, on tensors that stay on the device.

    src slots --gather--> state (B, *dims) --K rows of the step--> state' --scatter--> dst slots

A `Backend` does that (onnx.py, torchscript.py, aot.py) on arrays of its own kind; the `Runtime`
adds what all have in common: padding, warming, and the probe that finds the smallest padding at
which a row's result does not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from model.rows import is_sparse
from model.state import StateSpec
from service.engine.arena import INITIAL

Array = Any  # numpy's or torch's, by backend
Floats = NDArray[np.float32]
PROBED_MULTIPLES = (1, 2, 4, 8, 16)
PROBED_TICKS = 32
PROBED_BUCKETS = 8


class BackendError(Exception):
    """The bundle has not what this backend needs, or the machine has not."""


class StepOutput(msgspec.Struct, frozen=True):
    """y: (B, K, Y); watched: one (B, K, *dims) a watched state tensor. Nobody else's memory."""

    y: Floats
    watched: list[NDArray[Any]]


class Backend(Protocol):
    """Arithmetic on one device. Slot arrays are (S, *dims), batch arrays (B, *dims)."""

    name: str
    device: str

    def allocate(self, spec: StateSpec, slots: int) -> list[Array]:
        """Zeroed slot arrays, one a state tensor."""
        ...

    def gather(self, arrays: Sequence[Array], slots: Sequence[int]) -> list[Array]:
        """Batch arrays of those slots, new ones."""
        ...

    def scatter(self, arrays: Sequence[Array], slots: Sequence[int], state: list[Array]) -> None:
        """Overwrite those slots with the first rows of a batch state."""
        ...

    def free(self, arrays: Sequence[Array], slot: int) -> None:
        """The slot's content is nobody's any more: it will be overwritten before it is read."""
        ...

    def run(
        self,
        arrays: Sequence[Array],
        src: Sequence[int],
        dst: Sequence[int],
        x: Floats,
        watch: Sequence[int],
    ) -> StepOutput:
        """K rows of the B sessions in the slots `src`. x: (B, K, X).

        What the first of them come to overwrites the slots `dst`, which may be fewer. `watch`
        names state tensors, by index, whose value after each row is returned too.
        """
        ...

    def to_numpy(self, array: Array) -> NDArray[Any]:
        """A batch array on the host."""
        ...

    def from_numpy(self, array: NDArray[Any]) -> Array:
        """An array of this backend's kind on its device."""
        ...

    def device_bytes(self) -> int | None:
        """Bytes in use on the accelerator, None on a CPU."""
        ...


class Runtime:
    """A backend with its slots.

    `multiple`: batches are padded to a multiple of it; `initial`: one array a state tensor,
    without batch axis, kept in slot 0. Padding rows read slot 0 and are written nowhere.
    `reason`: why this backend, for people.
    """

    def __init__(
        self,
        backend: Backend,
        spec: StateSpec,
        input_size: int,
        slots: int,
        max_batch: int,
        initial: Sequence[NDArray[Any]],
        reason: str = "",
    ) -> None:
        self.backend, self.spec, self.max_batch = backend, spec, max_batch
        self.input_size, self.slots, self.reason = input_size, slots, reason
        self.arrays = backend.allocate(spec, slots)
        self.load(INITIAL, initial)
        # Members of a state with sparsely updated tensors run one by one: see one_by_one.py.
        self.alone = is_sparse(spec)
        self.multiple = 1 if self.alone else self._probe()
        self._warm()

    def step(
        self, src: Sequence[int], dst: Sequence[int], x: Floats, watch: Sequence[int] = ()
    ) -> StepOutput:
        """K rows of B sessions. x: (B, K, X), B >= 1. Slots `dst` are overwritten whole.

        `watch` names state tensors, by index, whose value after each row is returned too.
        """
        batch, padding = len(x), -len(x) % self.multiple
        if padding:
            rows, x = x, np.zeros((batch + padding, *x.shape[1:]), np.float32)
            x[:batch] = rows
        out = self.backend.run(self.arrays, [*src, *[INITIAL] * padding], dst, x, watch)
        return StepOutput(out.y[:batch], [array[:batch] for array in out.watched])

    def write(self, slots: Sequence[int], state: Sequence[NDArray[Any]]) -> None:
        """Overwrite slots. state: one (B, *dims) array a tensor, in the order of the spec."""
        rows = [self.backend.from_numpy(array) for array in state]
        self.backend.scatter(self.arrays, slots, rows)

    def read(self, slots: Sequence[int]) -> list[NDArray[Any]]:
        """Host copies of slots: one (B, *dims) array a tensor, in the order of the spec."""
        return [self.backend.to_numpy(a) for a in self.backend.gather(self.arrays, slots)]

    def load(self, slot: int, state: Sequence[NDArray[Any]]) -> None:
        """Overwrite one slot. state: one array of dims each."""
        self.write([slot], [np.ascontiguousarray(array[None]) for array in state])

    def save(self, slot: int) -> list[NDArray[Any]]:
        """A host copy of one slot: one array of dims each."""
        return [array[0] for array in self.read([slot])]

    def replay(self, state: list[NDArray[Any]], runs: list[Floats]) -> list[NDArray[Any]]:
        """A state after more rows, outside the slots; each of `runs` is (T, X).

        Padded as a batch is, so bit-equal to what a slot would hold.
        """
        if not runs:
            return state
        backend, batch = self.backend, self.multiple
        arrays = backend.allocate(self.spec, 1)
        backend.scatter(arrays, [0], [backend.from_numpy(array[None].copy()) for array in state])
        x = np.repeat(np.concatenate(runs)[None], batch, axis=0)
        backend.run(arrays, [0] * batch, [0], x, ())
        return [backend.to_numpy(array)[0] for array in backend.gather(arrays, [0])]

    def copy(self, src: int, dst: int) -> None:
        """Overwrite slot `dst` with slot `src`."""
        self.backend.scatter(self.arrays, [dst], self.backend.gather(self.arrays, [src]))

    def free(self, slot: int) -> None:
        """Nobody holds the slot any more."""
        self.backend.free(self.arrays, slot)

    @property
    def slot_bytes(self) -> int:
        """Bytes of one session's state."""
        return sum(tensor.nbytes for tensor in self.spec)

    def _buckets(self, multiple: int) -> list[int]:
        """The sizes that batches are padded to."""
        return list(range(multiple, self.max_batch + multiple, multiple))

    def _warm(self) -> None:
        sizes = [1] if self.alone else self._buckets(self.multiple)
        for size in reversed(sizes):
            x = np.zeros((size, 1, self.input_size), np.float32)
            self.backend.run(self.arrays, [INITIAL] * size, [], x, ())

    def _probe(self) -> int:
        """The smallest multiple at which a row is bit-equal in every bucket and position."""
        for multiple in PROBED_MULTIPLES:
            if self._holds(multiple):
                return multiple
        raise BackendError(
            f"{self.backend.name} on {self.backend.device}: a row's result depends on its batch "
            f"at every padding tried, {PROBED_MULTIPLES}"
        )

    def _holds(self, multiple: int) -> bool:
        """Do rows come to the same in a whole batch and in some of its members, mixed, alone?

        A kernel treats what does not fill its last vector apart, and then only some values differ
        in the last bit. So many rows and states are tried, those of sessions that have gone on.
        """
        random = np.random.default_rng(multiple)
        buckets, backend = self._buckets(multiple), self.backend
        whole = buckets[-1]
        arrays = backend.allocate(self.spec, 3 * whole)
        before, after, aside = (list(range(at * whole, (at + 1) * whole)) for at in range(3))
        backend.scatter(arrays, before, backend.gather(self.arrays, [INITIAL] * whole))
        for tick in range(PROBED_TICKS):
            x = random.uniform(-1, 1, (whole, 1, self.input_size)).astype(np.float32)
            x = (x > 0).astype(np.float32) if tick % 2 else x
            y = backend.run(arrays, before, after, x, ()).y
            for size in random.permutation(buckets)[:PROBED_BUCKETS].tolist():
                members = random.permutation(whole)[:size].tolist()
                rows, known = x[members], size - size // 3
                rows[known:] *= -0.5  # the rest are other batch-mates than before
                part = backend.run(arrays, [before[m] for m in members], aside[:size], rows, ()).y
                want, got = [after[m] for m in members[:known]], aside[:known]
                if not (
                    _same([y[members[:known]]], [part[:known]]) and self._alike(arrays, want, got)
                ):
                    return False
            before, after = after, before
        return True

    def _alike(self, arrays: Sequence[Array], left: Sequence[int], right: Sequence[int]) -> bool:
        """Do slots hold the same, bit for bit?"""
        both = (map(self.backend.to_numpy, self.backend.gather(arrays, s)) for s in (left, right))
        return _same(*both)


def _same(left: Iterable[NDArray[Any]], right: Iterable[NDArray[Any]]) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(left, right, strict=True))
