"""Rows of numbers: JSON lists on the wire, raw little-endian float32 towards the engine."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import chain
from math import prod
from typing import Any

from model.state import StateSpec, TensorSpec
from service.body import FLOAT32
from service.errors import InvalidRequest, NotFinite, TooManyRows, WrongShape
from service.messages import StateTensor
from service.schemas import TensorView

MAX_FLOAT32, MAX_FLOAT64 = 3.4028235e38, 1.7976931348623157e308


def pack(rows: list[list[float]], max_rows: int) -> tuple[bytes, tuple[int, int]]:
    """Rows (T, X) as bytes, and (T, X). X is checked against the model by the engine.

    Raises WrongShape for no or ragged rows, TooManyRows, NotFinite for what float32 cannot hold.
    """
    count = len(rows)
    if count > max_rows:
        raise TooManyRows(
            f"$.inputs: expected at most {max_rows} rows, got {count} rows",
            expected=f"at most {max_rows} rows", got=f"{count} rows", where="$.inputs",
        )  # fmt: skip
    width = len(rows[0]) if rows else 0
    if not width:
        got = "a row of no numbers" if rows else "no row"
        raise _shape("$.inputs", "at least one row of at least one number", got)
    if count > 1:
        for index, row in enumerate(rows):
            if len(row) != width:
                raise _shape(
                    f"$.inputs[{index}]", f"{width} numbers, as in row 0", f"{len(row)} numbers"
                )
    try:
        return struct.pack(f"<{count * width}f", *chain.from_iterable(rows)), (count, width)
    except OverflowError:
        raise _too_big(rows) from None


def _shape(where: str, expected: str, got: str) -> WrongShape:
    return WrongShape(
        f"{where}: expected {expected}, got {got}", expected=expected, got=got, where=where
    )


def _too_big(rows: list[list[float]]) -> NotFinite:
    for index, row in enumerate(rows):
        for at, value in enumerate(row):
            if abs(value) > MAX_FLOAT32:
                return _not_finite(f"$.inputs[{index}][{at}]", value)
    raise ValueError("every number fits float32")


def _not_finite(where: str, value: float) -> NotFinite:
    got = value if abs(value) < MAX_FLOAT64 else "a number past float64"  # JSON reads an int whole
    return NotFinite(
        f"{where}: expected {FLOAT32}, got {got}", expected=FLOAT32, got=got, where=where
    )


def unpack(data: bytes, dims: tuple[int, int]) -> list[tuple[float, ...]]:
    """Outputs (T, Y) as rows. Each number is the float32's own value, so it reads back as it."""
    count, width = dims
    values = struct.unpack(f"<{count * width}f", data)
    return [values[at : at + width] for at in range(0, count * width, width)]


def view(tensor: StateTensor) -> TensorView:
    """A tensor of the engine for JSON. Its bytes are float32 or int64, as their number tells."""
    size = prod(tensor.dims)
    letter = "q" if size and len(tensor.data) == 8 * size else "f"
    data = list(struct.unpack(f"<{size}{letter}", tensor.data))
    return TensorView(tensor.name, tensor.role, tensor.dims, data)


def pack_state(given: dict[str, list[Any]], spec: StateSpec) -> dict[str, bytes]:
    """Initial tensors as float32 bytes, each nested as its dims say, or flat.

    Raises InvalidRequest for a name the spec has not, WrongShape and NotFinite.
    """
    by_name = {tensor.name: tensor for tensor in spec}
    packed: dict[str, bytes] = {}
    for name, value in given.items():
        if name not in by_name:
            expected = "one of " + ", ".join(by_name)
            raise InvalidRequest(
                f"$.state: expected {expected}, got {name!r}",
                expected=expected, got=name, where="$.state",
            )  # fmt: skip
        packed[name] = _pack_tensor(f"$.state.{name}", value, by_name[name])
    return packed


def _pack_tensor(where: str, value: list[Any], spec: TensorSpec) -> bytes:
    flat = len(value) == spec.size and not any(isinstance(part, list) for part in value)
    numbers = list(_numbers(where, value, (spec.size,) if flat else spec.dims))
    if spec.dtype == "int64":
        return struct.pack(f"<{spec.size}q", *(int(number) for number in numbers))
    return struct.pack(f"<{spec.size}f", *numbers)


def _numbers(where: str, value: Any, dims: tuple[int, ...]) -> Iterator[float]:
    if not dims:
        if isinstance(value, bool) or not isinstance(value, int | float):
            kind = type(value).__name__
            raise InvalidRequest(
                f"{where}: expected float, got {kind}", expected="float", got=kind, where=where
            )
        if abs(value) > MAX_FLOAT32:
            raise _not_finite(where, value)
        yield float(value)
        return
    if not isinstance(value, list) or len(value) != dims[0]:
        got = f"{len(value)}" if isinstance(value, list) else type(value).__name__
        raise _shape(where, f"a list of {dims[0]}, of dims {list(dims)}", got)
    for index, part in enumerate(value):
        yield from _numbers(f"{where}[{index}]", part, dims[1:])
