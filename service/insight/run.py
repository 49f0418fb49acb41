"""A traced run as arrays, found by the roles of its tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.results import StateTensor, TraceResult

KINDS = ("write", "read")  # in the order of a step
FOCUSED = 0.5  # a head is on the slot of its largest weight where that is above it
Floats = NDArray[np.float64]
Tensors = dict[str, tuple[str, Floats]]  # by name: role and array


class Run(NamedTuple):
    """T rows. memory: (T + 1, N, M), or None; state: (T + 1, *dims); trace: (T, *dims)."""

    memory: Floats | None
    state: Tensors
    trace: Tensors


class Head(NamedTuple):
    """One head. weights: (T + 1, N); slots, focus: (T,), of the largest weight and that weight."""

    kind: str
    name: str
    at: int
    weights: Floats
    slots: NDArray[np.int64]
    focus: Floats


def of(found: TraceResult) -> Run:
    """The run that the engine told."""
    state = _arrays(found.state)
    memories = (array for role, array in state.values() if role == "memory" and array.ndim == 3)
    return Run(next(memories, None), state, _arrays(found.trace))


def heads(run: Run) -> Iterator[Head]:
    """Every head whose weights over slots the state has."""
    for kind in KINDS:
        for role, weights in run.state.values():
            if role != f"{kind}_weights" or weights.ndim != 3:
                continue
            several = weights.shape[1] > 1
            for at in range(weights.shape[1]):
                own = weights[:, at]
                name = f"{kind} {at + 1}" if several else kind
                yield Head(kind, name, at, own, own[1:].argmax(1), own[1:].max(1))


def emitted(run: Run, head: Head, role: str, name: str = "") -> Floats | None:
    """What a head emitted of a role, (T, size): the trace tensor (T, heads, size) that is named
    after the head's kind, and ends in `name`."""
    for full, (own, array) in run.trace.items():
        fits = own == role and full.startswith(head.kind) and full.endswith(name)
        if fits and array.ndim == 3 and head.at < array.shape[1]:
            return array[:, head.at]
    return None


def spread(weights: Floats) -> Floats:
    """exp(entropy) of weights (..., N), taken as shares: over how many slots they go."""
    share = np.abs(weights)
    share = share / np.maximum(share.sum(-1, keepdims=True), 1e-12)
    return np.exp(-(share * np.log(np.maximum(share, 1e-12))).sum(-1))


def _arrays(tensors: list[StateTensor]) -> Tensors:
    found: Tensors = {}
    for tensor in tensors:
        size = int(np.prod(tensor.dims))
        dtype = "<i8" if size and len(tensor.data) == 8 * size else "<f4"
        array = np.frombuffer(tensor.data, dtype).reshape(tensor.dims)
        found[tensor.name] = (tensor.role, array.astype(np.float64))
    return found
