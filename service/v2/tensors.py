"""Named tensors of the Open Inference Protocol V2, and the rows they stand for.

[1, X] is one row, [1, T, X] are T rows in order, and a first dimension past 1 is a batch of such,
each from fresh state. A bundle has one input and one output, float32 in its graph. x and y name
them for every bundle, and so do the names that its manifest has for them.
"""

from __future__ import annotations

from math import prod

import msgspec
import numpy as np

from service.body import FLOAT32
from service.errors import InvalidRequest, NotFinite, TooManyRows, WrongShape

INPUT, OUTPUT = "x", "y"
DATATYPE = "FP32"
# What rows may come as; each number is taken as its nearest float32.
DTYPES = {
    "FP32": "<f4", "FP64": "<f8", "FP16": "<f2", "BOOL": "?",
    "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
    "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8",
}  # fmt: skip
ITEM_BYTES = 4
MAX_SIZE = 2**31 - 1  # of one dimension
EXPECTED = "[1, X] for a row, [1, T, X] for T rows, or B of either, each dimension 1 or more"


class Tensor(msgspec.Struct, frozen=True):
    """data: raw little-endian, row-major."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes


class Rows(msgspec.Struct, frozen=True):
    """B members of T rows of X numbers: data (B, T, X) in raw float32.

    ranked: the shape had T in it, and so has the answer's.
    """

    members: int
    count: int
    width: int
    ranked: bool
    data: bytes

    def member(self, index: int) -> bytes:
        """The rows (T, X) of one member."""
        size = len(self.data) // self.members
        return self.data[index * size : (index + 1) * size]

    @property
    def dims(self) -> tuple[int, int]:
        """(T, X)"""
        return self.count, self.width


def rows_of(inputs: list[Tensor], max_rows: int, name: str = INPUT) -> Rows:
    """The rows of a request's inputs. X is checked against the model by the engine.

    Raises InvalidRequest for an input of another name or a datatype that DTYPES has not,
    WrongShape where shape and data do not fit, TooManyRows, and NotFinite.
    """
    names = [tensor.name for tensor in inputs]
    if names != [name]:
        raise _invalid("inputs", f"one input, {name!r}", f"{names}")
    (tensor,) = inputs
    members, count, width = _dims(tensor.shape)
    data = _float32(tensor)
    if members * count > max_rows:
        expected, got = f"at most {max_rows} rows", f"{members * count} rows"
        raise TooManyRows(
            f"input {INPUT!r}: expected {expected}, got {got}", expected=expected, got=got
        )
    _check_finite(data)
    return Rows(members, count, width, len(tensor.shape) == 3, data)


def _float32(tensor: Tensor) -> bytes:
    if tensor.datatype not in DTYPES:
        raise _invalid("datatype", f"one of {', '.join(DTYPES)}", f"{tensor.datatype!r}")
    dtype = np.dtype(DTYPES[tensor.datatype])
    size = prod(tensor.shape) * dtype.itemsize
    if len(tensor.data) != size:
        got = f"{len(tensor.data)} bytes"
        raise _shape(f"{size} bytes of {tensor.datatype} for the shape {list(tensor.shape)}", got)
    if tensor.datatype == DATATYPE:
        return tensor.data
    with np.errstate(over="ignore"):  # which makes an infinity, and that is refused
        return np.frombuffer(tensor.data, dtype).astype("<f4").tobytes()


def _check_finite(data: bytes) -> None:
    if not np.isfinite(np.frombuffer(data, "<f4")).all():
        got = "one that is not finite"
        raise NotFinite(
            f"input {INPUT!r}: expected each number to be {FLOAT32}, got {got}",
            expected=FLOAT32, got=got,
        )  # fmt: skip


def output_of(rows: Rows, width: int, data: bytes, name: str = OUTPUT) -> Tensor:
    """The output (B, T, Y), or (B, Y) where the input had no T."""
    middle = (rows.count,) if rows.ranked else ()
    return Tensor(name, DATATYPE, (rows.members, *middle, width), data)


def check_outputs(names: list[str], name: str = OUTPUT) -> None:
    """Raises InvalidRequest where another output is asked for, or the one twice."""
    if names not in ([], [name]):
        raise _invalid("outputs", f"one output, {name!r}, or none named", f"{names}")


def _dims(shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) not in (2, 3) or not all(1 <= size <= MAX_SIZE for size in shape):
        raise _shape(f"the shape {EXPECTED}", f"{list(shape)}")
    members, *count, width = shape
    return members, count[0] if count else 1, width


def _shape(expected: str, got: str) -> WrongShape:
    return WrongShape(
        f"input {INPUT!r}: expected {expected}, got {got}", expected=expected, got=got
    )


def _invalid(where: str, expected: str, got: str) -> InvalidRequest:
    return InvalidRequest(
        f"{where}: expected {expected}, got {got}", expected=expected, got=got, where=where
    )
