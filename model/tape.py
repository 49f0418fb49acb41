"""Integers as distributions, and back: how a machine's tape and registers are given and read. No
torch, so a client can use it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def encode(values: Sequence[int], cells: int, integers: int) -> NDArray[np.float32]:
    """Each value with probability 1, further cells 0: (cells, integers).

    A whole tape has as many cells as there are integers. Raises ValueError for more values than
    cells, and for a value that is not one of 0 .. integers - 1.
    """
    if len(values) > cells:
        raise ValueError(f"expected at most {cells} values, got {len(values)}")
    if any(not 0 <= value < integers for value in values):
        raise ValueError(f"expected values of 0 to {integers - 1}, got {list(values)}")
    padded = [*values, *[0] * (cells - len(values))]
    return np.eye(integers, dtype=np.float32)[padded]


def decode(cells: NDArray[np.float32]) -> list[int]:
    """The likeliest integer of each cell. cells: (cells, integers), or flat of a whole tape."""
    if cells.ndim == 1:
        side = round(len(cells) ** 0.5)
        cells = cells.reshape(side, side)
    return [int(value) for value in cells.argmax(axis=1)]
