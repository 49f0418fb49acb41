"""Buffers bound to an ONNX session, so that a step allocates nothing and copies nothing.

    gather -> front of state 0 --step--> front of state 1 --step--> front of state 0 ... -> scatter

Every batch size uses the front of the same buffers, so that many sizes cost one of the largest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from model.state import StateSpec

Array = Any  # numpy's or torch's
ALIGNED_BYTES = 64  # of ONNX Runtime's own buffers; some kernels round by where a buffer begins


class Memory(NamedTuple):
    """How buffers are had on a device."""

    device: str
    empty: Callable[[tuple[int, ...], str], Array]  # of dims and dtype, 64-byte aligned
    address: Callable[[Array], int]


class Front(NamedTuple):
    """The first `size` members of the buffers. states: one list a direction."""

    x: Array  # (B, X)
    y: Array  # (B, Y), overwritten by the next step
    states: tuple[list[Array], list[Array]]
    bindings: tuple[Any, Any]  # from state 0 to state 1, and back


class Buffers:
    """Of one session: x, y and the state twice, grown to the largest batch that is asked for."""

    def __init__(self, session: Any, spec: StateSpec, memory: Memory) -> None:
        self._session, self._spec, self._memory = session, spec, memory
        self._size = 0
        self._fronts: dict[int, Front] = {}

    def front(self, size: int, width: int) -> Front:
        """The buffers for so many members whose rows are of that width."""
        if size > self._size:
            self._allocate(size, width)
        if size not in self._fronts:
            self._fronts[size] = self._bind(size)
        return self._fronts[size]

    def _allocate(self, size: int, width: int) -> None:
        empty, spec = self._memory.empty, self._spec
        self._fronts.clear()
        self._x = empty((size, width), "float32")
        self._y = empty((size, self._outputs(width)), "float32")
        self._states = [[empty((size, *t.dims), t.dtype) for t in spec] for _ in range(2)]
        self._size = size

    def _outputs(self, width: int) -> int:
        """Y, which the graph may leave open: what one step with zeros gives."""
        feeds = {t.name: np.zeros((1, *t.dims), t.dtype) for t in self._spec}
        x = np.zeros((1, width), np.float32)
        return self._session.run(["y"], {"x": x, **feeds})[0].shape[1]

    def _bind(self, size: int) -> Front:
        x, y = self._x[:size], self._y[:size]
        here, there = ([array[:size] for array in arrays] for arrays in self._states)
        bindings = self._binding(x, here, y, there), self._binding(x, there, y, here)
        return Front(x, y, (here, there), bindings)

    def _binding(self, x: Array, state: list[Array], y: Array, following: list[Array]) -> Any:
        binding = self._session.io_binding()
        names = [tensor.name for tensor in self._spec]
        kinds = ["float32", *(tensor.dtype for tensor in self._spec)]
        self._each(binding.bind_input, ["x", *names], kinds, [x, *state])
        self._each(
            binding.bind_output, ["y", *(f"{n}_next" for n in names)], kinds, [y, *following]
        )
        return binding

    def _each(
        self, bind: Any, names: Sequence[str], kinds: Sequence[str], arrays: Sequence[Array]
    ) -> None:
        for name, kind, array in zip(names, kinds, arrays, strict=True):
            address = self._memory.address(array)
            bind(name, self._memory.device, 0, np.dtype(kind), tuple(array.shape), address)


def aligned(dims: tuple[int, ...], dtype: str) -> Array:
    """An array of those dims that begins where a vector of any processor's may, not filled."""
    nbytes = np.dtype(dtype).itemsize * int(np.prod(dims))
    block = np.empty(nbytes + ALIGNED_BYTES, np.uint8)
    begin = -block.ctypes.data % ALIGNED_BYTES
    return block[begin : begin + nbytes].view(dtype).reshape(dims)


def _address(array: Array) -> int:
    return array.ctypes.data


NUMPY = Memory("cpu", aligned, _address)
