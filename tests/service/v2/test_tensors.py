"""Tensors of the protocol, and the rows they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from service.errors import InvalidRequest, NotFinite, NtmError, TooManyRows, WrongShape
from service.v2.tensors import DTYPES, Tensor, check_outputs, output_of, rows_of


def tensor(*shape: int, name: str = "x", datatype: str = "FP32") -> Tensor:
    values = np.arange(abs(np.prod(shape, dtype=int)), dtype=np.float32)
    return Tensor(name, datatype, shape, values.tobytes())


@pytest.mark.parametrize(
    ("shape", "members", "count"),
    [((1, 7), 1, 1), ((1, 5, 7), 1, 5), ((3, 7), 3, 1), ((3, 5, 7), 3, 5)],
)
def test_the_first_dimension_is_the_batch_and_the_last_a_row(
    shape: tuple[int, ...], members: int, count: int
):
    rows = rows_of([tensor(*shape)], 100)
    assert (rows.members, rows.dims) == (members, (count, 7))
    whole = np.frombuffer(rows.data, np.float32).reshape(members, count, 7)
    for at in range(members):
        assert rows.member(at) == whole[at].tobytes()
    assert output_of(rows, 4, b"").shape == (*shape[:-1], 4)


@pytest.mark.parametrize(
    ("inputs", "kind", "said"),
    [
        ([], InvalidRequest, "one input, 'x', got []"),
        ([tensor(1, 7), tensor(1, 7)], InvalidRequest, "got ['x', 'x']"),
        ([tensor(1, 7, name="z")], InvalidRequest, "got ['z']"),
        ([tensor(1, 7, datatype="BYTES")], InvalidRequest, "UINT64, got 'BYTES'"),
        ([tensor(1, 7, datatype="FP64")], WrongShape, "expected 56 bytes of FP64"),
        ([tensor(7)], WrongShape, "got [7]"),
        ([tensor(1, 2, 3, 4)], WrongShape, "got [1, 2, 3, 4]"),
        ([tensor(0, 7)], WrongShape, "got [0, 7]"),
        ([tensor(-1, -7)], WrongShape, "got [-1, -7]"),
        ([Tensor("x", "FP32", (1, 7), b"\0" * 27)], WrongShape, "expected 28 bytes"),
        ([Tensor("x", "FP32", (2**31 - 1, 2**31 - 1), b"\0" * 4)], WrongShape, "got 4 bytes"),
        ([Tensor("x", "FP32", (2**31, 1), b"\0" * 4)], WrongShape, "got [2147483648, 1]"),
        ([tensor(3, 5, 7)], TooManyRows, "at most 14 rows, got 15 rows"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    inputs: list[Tensor], kind: type[NtmError], said: str
):
    with pytest.raises(kind) as raised:
        rows_of(inputs, 14)
    assert said in raised.value.detail


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_refused(value: float):
    data = np.array([[1, 2, value]], np.float32).tobytes()
    with pytest.raises(NotFinite):
        rows_of([Tensor("x", "FP32", (1, 3), data)], 9)


def test_only_the_one_output_can_be_asked_for():
    check_outputs([])
    check_outputs(["y"])
    for names in (["x"], ["y", "y"], ["y", "z"]):
        with pytest.raises(InvalidRequest, match="one output, 'y'"):
            check_outputs(names)


@pytest.mark.parametrize("datatype", ["FP64", "FP16", "INT8", "INT32", "INT64", "UINT8", "BOOL"])
def test_numbers_of_any_kind_are_taken_as_float32(datatype: str):
    values = np.array([[0, 1, 1, 0, 1]]).astype(DTYPES[datatype])
    rows = rows_of([Tensor("x", datatype, (1, 5), values.tobytes())], 14)
    assert np.frombuffer(rows.data, np.float32).tolist() == [0, 1, 1, 0, 1]


def test_a_double_past_float32_is_refused():
    data = np.array([[1e39]]).tobytes()
    with pytest.raises(NotFinite):
        rows_of([Tensor("x", "FP64", (1, 1), data)], 14)
