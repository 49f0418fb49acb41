"""Sparsely updated tensors: what a step tells of one is the rows it changes, and where they are.

Of a memory with 65,536 slots a step changes a dozen. A graph has no `memory_next` then, but
`memory_rows` and `memory_indices`, and who keeps the state puts the rows in their places. An index
may come up more than once, then with the same row each time.

This module needs no torch, so the server can use it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.state import StateSpec

if TYPE_CHECKING:
    from torch import Tensor


class Rows(NamedTuple):
    """What a step makes of a sparsely updated tensor, whose spec has as many `rows`."""

    values: Tensor  # (B, rows, *dims[1:])
    indices: Tensor  # (B, rows), int64, in [0, dims[0])


def is_sparse(spec: StateSpec) -> bool:
    """Is any tensor of it sparsely updated?"""
    return any(tensor.update == "sparse" for tensor in spec)


def next_names(spec: StateSpec) -> list[str]:
    """The outputs of a step's graph that tell the next state, in order."""
    names: list[str] = []
    for tensor in spec:
        ends = ("rows", "indices") if tensor.update == "sparse" else ("next",)
        names += [f"{tensor.name}_{end}" for end in ends]
    return names


def told_of(spec: StateSpec, told: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """What a graph tells of each tensor: (whole,), or (rows, indices) of a sparse one.

    told: what the outputs of `next_names` hold, and maybe others after them.
    """
    rest = iter(told)
    for tensor in spec:
        yield (next(rest), next(rest)) if tensor.update == "sparse" else (next(rest),)


def next_state(
    spec: StateSpec, state: Sequence[NDArray[Any]], told: Sequence[NDArray[Any]]
) -> list[NDArray[Any]]:
    """The next state, whole; the one given stays as it is. state: one (B, *dims) array a tensor."""
    pairs = zip(spec, state, strict=True)
    return put(spec, [a.copy() if t.update == "sparse" else a for t, a in pairs], told)


def put(
    spec: StateSpec, state: Sequence[NDArray[Any]], told: Sequence[NDArray[Any]]
) -> list[NDArray[Any]]:
    """The next state; of the one given, the sparsely updated tensors have become it."""
    following: list[NDArray[Any]] = []
    for array, parts in zip(state, told_of(spec, told), strict=True):
        if len(parts) == 2:
            values, indices = parts
            array[np.arange(len(array))[:, None], indices] = values
        following.append(array if len(parts) == 2 else parts[0])
    return following


def rows_of(tensor: Tensor, indices: Tensor) -> Tensor:
    """Row indices[b, i] of tensor[b]. tensor: (B, n, ...); indices: (B, S), in [0, n).

    Returns (B, S, ...).
    """
    batch, count = tensor.shape[:2]
    first = indices.new_ones(batch, 1).cumsum(0) - 1
    flat = (indices + first * count).flatten()
    return tensor.flatten(0, 1).index_select(0, flat).unflatten(0, (batch, indices.shape[1]))


def with_rows(tensor: Tensor, rows: Rows, firsts: Tensor) -> Tensor:
    """The tensor (B, n, ...) with its changed rows in it.

    firsts: (B, rows), which of the indices has not come before. Where one has, its row gets no
    gradient: it is the same one.
    """
    values, indices = rows
    dims = (*indices.shape, *[1] * (tensor.dim() - 2))
    values = values.where(firsts.reshape(dims), values.detach())
    return tensor.scatter(1, indices.reshape(dims).expand_as(values), values)
