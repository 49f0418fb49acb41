"""Rows of numbers: lists or raw float32 on the wire, raw float32 towards the engine."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import chain
from math import isfinite, prod
from typing import Any

import numpy as np

from model.state import StateSpec, TensorSpec
from service.body import FLOAT32
from service.errors import InvalidRequest, NotFinite, TooManyRows, WrongShape
from service.results import StateTensor
from service.schemas import Tensor, TensorView

MAX_FLOAT32, MAX_FLOAT64 = 3.4028235e38, 1.7976931348623157e308


def pack(rows: list[list[float]] | Tensor, max_rows: int) -> tuple[bytes, tuple[int, int]]:
    """Rows (T, X) as bytes, and (T, X). X is checked against the model by the engine.

    Raises WrongShape for no or ragged rows, TooManyRows, NotFinite for what float32 cannot hold.
    """
    if isinstance(rows, Tensor):
        return _checked(rows, max_rows)
    count, width = len(rows), len(rows[0]) if rows else 0
    _check_count(count, max_rows)
    if not width:
        got = "a row of no numbers" if rows else "no row"
        raise _shape("$.inputs", "at least one row of at least one number", got)
    if count > 1:
        for index, row in enumerate(rows):
            if len(row) != width:
                raise _shape(
                    f"$.inputs[{index}]", f"{width} numbers, as in row 0", f"{len(row)} numbers"
                )
    numbers = rows[0] if count == 1 else list(chain.from_iterable(rows))
    try:
        packed = _floats(len(numbers)).pack(*numbers)
    except OverflowError:
        raise _too_big(rows) from None
    if not isfinite(sum(numbers)):  # MessagePack has numbers that JSON has not
        raise _too_big(rows)
    return packed, (count, width)


def _check_count(count: int, max_rows: int) -> None:
    if count > max_rows:
        raise TooManyRows(
            f"$.inputs: expected at most {max_rows} rows, got {count} rows",
            expected=f"at most {max_rows} rows", got=f"{count} rows", where="$.inputs",
        )  # fmt: skip


def _checked(rows: Tensor, max_rows: int) -> tuple[bytes, tuple[int, int]]:
    """Rows that came raw."""
    if len(rows.dims) != 2 or min(rows.dims) < 1:
        raise _shape("$.inputs.dims", "[T, X], neither of them 0", str(list(rows.dims)))
    count, width = rows.dims
    _check_count(count, max_rows)
    _check_raw("$.inputs", rows)
    return rows.data, (count, width)


def _check_raw(where: str, tensor: Tensor) -> None:
    size = prod(tensor.dims)
    if len(tensor.data) != 4 * size:
        expected = f"{4 * size} bytes, the float32 of dims {list(tensor.dims)}"
        raise _shape(f"{where}.data", expected, f"{len(tensor.data)} bytes")
    values = np.frombuffer(tensor.data, "<f4")
    finite = np.isfinite(values)
    if not finite.all():
        at = int(np.argmin(finite))
        raise _not_finite(f"{where}.data[{at}]", float(values[at]))


def _shape(where: str, expected: str, got: str) -> WrongShape:
    return WrongShape(
        f"{where}: expected {expected}, got {got}", expected=expected, got=got, where=where
    )


def _too_big(rows: list[list[float]]) -> NotFinite:
    for index, row in enumerate(rows):
        for at, value in enumerate(row):
            if not abs(value) <= MAX_FLOAT32:
                return _not_finite(f"$.inputs[{index}][{at}]", value)
    raise ValueError("every number fits float32")


def _not_finite(where: str, value: float) -> NotFinite:
    got: float | str = value
    if isinstance(value, int) and abs(value) >= MAX_FLOAT64:
        got = "a number past float64"  # JSON reads an int whole
    elif not isfinite(value):
        got = str(value)  # which problem details could not tell as a number
    return NotFinite(
        f"{where}: expected {FLOAT32}, got {got}", expected=FLOAT32, got=got, where=where
    )


def unpack(data: bytes, dims: tuple[int, int]) -> list[tuple[float, ...]]:
    """Outputs (T, Y) as rows. Each number is the float32's own value, so it reads back as it."""
    return list(_floats(dims[1]).iter_unpack(data))


@lru_cache(256)
def _floats(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}f")


def raw(data: bytes, dims: tuple[int, int]) -> Tensor:
    """Outputs (T, Y) as they are."""
    return Tensor(dims, data)


def view(tensor: StateTensor) -> TensorView:
    """A tensor of the engine for JSON."""
    kind = dtype(tensor)
    letter = "q" if kind == "int64" else "f"
    data = list(struct.unpack(f"<{prod(tensor.dims)}{letter}", tensor.data))
    return TensorView(tensor.name, tensor.role, tensor.dims, data, kind)


def raw_view(tensor: StateTensor) -> TensorView:
    """A tensor of the engine for MessagePack."""
    return TensorView(tensor.name, tensor.role, tensor.dims, tensor.data, dtype(tensor))


def dtype(tensor: StateTensor) -> str:
    """float32 or int64, as the number of bytes tells."""
    size = prod(tensor.dims)
    return "int64" if size and len(tensor.data) == 8 * size else "float32"


def pack_state(given: Mapping[str, list[Any] | Tensor], spec: StateSpec) -> dict[str, bytes]:
    """Initial tensors as bytes: nested as their dims say, or flat, or raw float32.

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


def _pack_tensor(where: str, value: list[Any] | Tensor, spec: TensorSpec) -> bytes:
    if isinstance(value, Tensor):
        if value.dims != spec.dims:
            raise _shape(f"{where}.dims", f"{list(spec.dims)}", f"{list(value.dims)}")
        _check_raw(where, value)
        if spec.dtype == "float32":
            return value.data
        return np.frombuffer(value.data, "<f4").astype("<i8").tobytes()
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
        if not abs(value) <= MAX_FLOAT32:
            raise _not_finite(where, value)
        yield float(value)
        return
    if not isinstance(value, list) or len(value) != dims[0]:
        got = f"{len(value)}" if isinstance(value, list) else type(value).__name__
        raise _shape(where, f"a list of {dims[0]}, of dims {list(dims)}", got)
    for index, part in enumerate(value):
        yield from _numbers(f"{where}[{index}]", part, dims[1:])
