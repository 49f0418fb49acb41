"""What a network's state is made of: ordered, named tensors with a role each.

This module needs no torch, so the server can read specs without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from torch import Tensor

Role = Literal[
    "memory",
    "read_weights",
    "write_weights",
    "read_vectors",
    "usage",
    "link",
    "precedence",
    "controller",
    "stack",
    "register",
    "program",
    "environment",
    "counter",
    "key",
    "strength",
    "gate",
    "shift",
    "sharpness",
    "erase",
    "add",
    "other",
]


class TensorSpec(msgspec.Struct, frozen=True):
    """One tensor of a state (or of a trace), without its batch axis.

    update: "sparse" where a step changes a few of the dims[0] rows and tells only those, `rows` of
    them: see `Rows`.
    """

    name: str
    dims: tuple[int, ...]
    role: Role
    dtype: Literal["float32", "int64"] = "float32"
    update: Literal["dense", "sparse"] = "dense"
    rows: int = 0

    @property
    def size(self) -> int:
        """Elements in one batch row."""
        return math.prod(self.dims)

    @property
    def nbytes(self) -> int:
        """Bytes of one batch row."""
        return self.size * (8 if self.dtype == "int64" else 4)


StateSpec = tuple[TensorSpec, ...]


def flatten(state: Any) -> tuple[Tensor, ...]:
    """The tensors of a (nested) state tuple, in the order of its spec."""
    return tuple(_leaves(state))


def _leaves(node: Any) -> Iterator[Tensor]:
    if isinstance(node, tuple):
        for child in node:  # pyright: ignore[reportUnknownVariableType]
            yield from _leaves(child)
    else:
        yield node


def unflatten(like: Any, tensors: Sequence[Tensor]) -> Any:
    """The inverse of `flatten`: `tensors` in the nesting of `like`.

    Raises ValueError when the counts differ.
    """
    rest = list(tensors)
    out = _refill(like, rest)
    if rest:
        raise ValueError(f"{len(rest)} tensors more than the state has")
    return out


def _refill(node: Any, rest: list[Tensor]) -> Any:
    if not isinstance(node, tuple):
        if not rest:
            raise ValueError("fewer tensors than the state has")
        return rest.pop(0)
    children = [_refill(child, rest) for child in node]  # pyright: ignore[reportUnknownVariableType]
    return type(node)(*children) if hasattr(node, "_fields") else tuple(children)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
