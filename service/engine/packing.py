"""States as strings of bytes: each one's tensors one after the other, in the order of the spec."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.state import StateSpec
from service.errors import InvalidRequest, NotFinite, WrongShape

INDEX_BYTES = 8
MOST_ROWS = 64  # a session that is opened runs the rows since its checkpoint again


def pack(state: Sequence[NDArray[Any]]) -> bytes:
    """A state as one string of bytes. state: one array of dims each."""
    return b"".join([np.ascontiguousarray(array).data for array in state])


def pack_all(states: Sequence[NDArray[Any]]) -> list[bytes]:
    """As many states. states: one (B, *dims) array a tensor."""
    count = len(states[0])
    flat = [np.ascontiguousarray(array).reshape(count, -1).view(np.uint8) for array in states]
    return [row.tobytes() for row in np.concatenate(flat, axis=1)]


def unpack(spec: StateSpec, data: bytes) -> list[NDArray[Any]]:
    """The inverse of `pack`. Raises ValueError for another length."""
    return [array[0] for array in unpack_all(spec, [data])]


def unpack_all(spec: StateSpec, data: Sequence[bytes]) -> list[NDArray[Any]]:
    """The inverse of `pack_all`. Raises ValueError for another length."""
    size = sum(tensor.nbytes for tensor in spec)
    for state in data:
        if len(state) != size:
            raise ValueError(f"expected {size} bytes of state, got {len(state)}")
    block = np.frombuffer(b"".join(data), np.uint8).reshape(len(data), size)
    arrays: list[NDArray[Any]] = []
    at = 0
    for tensor in spec:
        part = block[:, at : at + tensor.nbytes].view(tensor.dtype)
        arrays.append(part.reshape(len(data), *tensor.dims))
        at += tensor.nbytes
    return arrays


def rows_that_change_all(spec: StateSpec) -> int:
    """After how many rows as much of a state has been written as it has, 64 at most: a checkpoint
    that comes once in so many costs a row no more than it changes. 1 where all is updated whole."""
    changed = 0
    for tensor in spec:
        sparse = tensor.update == "sparse"
        told = tensor.rows * (tensor.nbytes // tensor.dims[0] + INDEX_BYTES) if sparse else 0
        changed += min(told, tensor.nbytes) if sparse else tensor.nbytes
    whole = sum(tensor.nbytes for tensor in spec)
    return min(MOST_ROWS, max(1, whole // changed))


def overridden(spec: StateSpec, initial: Sequence[NDArray[Any]], given: dict[str, bytes]) -> bytes:
    """The initial state with some tensors replaced, packed. Raises NtmError."""
    state = list(initial)
    names = [tensor.name for tensor in spec]
    for name, data in given.items():
        if name not in names:
            raise InvalidRequest(f"state: expected one of {names}, got {name!r}")
        tensor = spec[names.index(name)]
        if len(data) != tensor.nbytes:
            raise WrongShape(
                f"state.{name}: expected dims {list(tensor.dims)}, {tensor.nbytes} bytes of "
                f"{tensor.dtype}, got {len(data)}"
            )
        values = np.frombuffer(data, tensor.dtype).reshape(tensor.dims)
        if not np.isfinite(values).all():
            raise NotFinite(f"state.{name}: expected finite numbers")
        state[names.index(name)] = values
    return pack(state)
