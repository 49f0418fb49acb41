"""Slot arrays as numpy arrays, for every backend that computes on the host's memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.state import StateSpec


class NumpyArrays:
    """The array half of a backend."""

    device = "cpu"

    def allocate(self, spec: StateSpec, slots: int) -> list[NDArray[Any]]:
        """See `Backend`."""
        return [np.zeros((slots, *tensor.dims), tensor.dtype) for tensor in spec]

    def gather(self, arrays: Sequence[NDArray[Any]], slots: Sequence[int]) -> list[NDArray[Any]]:
        """See `Backend`."""
        index = np.array(slots, np.intp)
        return [array.take(index, 0) for array in arrays]  # half of what indexing takes

    def scatter(
        self, arrays: Sequence[NDArray[Any]], slots: Sequence[int], state: list[NDArray[Any]]
    ) -> None:
        """See `Backend`."""
        if len(slots) == 1:  # a session placed: a plain copy takes a quarter
            for array, rows in zip(arrays, state, strict=True):
                array[slots[0]] = rows[0]
            return
        index = np.array(slots, np.intp)
        for array, rows in zip(arrays, state, strict=True):
            array[index] = rows[: len(slots)]

    def free(self, arrays: Sequence[NDArray[Any]], slot: int) -> None:
        """See `Backend`. Nothing is kept beside the slots."""

    def to_numpy(self, array: NDArray[Any]) -> NDArray[Any]:
        """See `Backend`."""
        return array

    def from_numpy(self, array: NDArray[Any]) -> NDArray[Any]:
        """See `Backend`."""
        return array

    def device_bytes(self) -> int | None:
        """See `Backend`."""
        return None


def take(
    arrays: Sequence[NDArray[Any]], slots: Sequence[int], state: Sequence[NDArray[Any]]
) -> None:
    """Overwrite a batch state, one array (B, *dims) a tensor, with that of B slots."""
    index = np.array(slots, np.intp)
    for array, rows in zip(arrays, state, strict=True):
        array.take(index, 0, rows, "clip")  # "raise" would gather aside and copy


def empty_rows(state: NDArray[Any], rows: int) -> NDArray[Any]:
    """Room for a state tensor (B, *dims) after each of so many rows: (B, K, *dims)."""
    return np.empty((len(state), rows, *state.shape[1:]), state.dtype)
