import struct
from math import nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from model.state import TensorSpec
from service import rows
from service.errors import InvalidRequest, NotFinite, TooManyRows, WrongShape
from service.results import StateTensor

FINITE = {"allow_nan": False, "allow_infinity": False}
SPEC = (TensorSpec("memory", (3, 2), "memory"), TensorSpec("usage", (5,), "usage"))


@given(arrays.arrays(np.float32, (3, 5), elements=st.floats(width=32, **FINITE)))
def test_rows_come_back_bit_for_bit(array: Any):
    packed, dims = rows.pack(array.astype(float).tolist(), 7)
    assert (packed, dims) == (array.tobytes(), (3, 5))
    back = np.array(rows.unpack(packed, dims), np.float32)
    assert back.tobytes() == array.tobytes()


def test_rows_are_little_endian_and_row_major():
    packed, dims = rows.pack([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], 7)
    assert (packed, dims) == (struct.pack("<6f", 1, 2, 3, 4, 5, 6), (3, 2))


@pytest.mark.parametrize(
    ("given", "where", "expected", "got"),
    [
        ([], "$.inputs", "at least one row of at least one number", "no row"),
        ([[], []], "$.inputs", "at least one row of at least one number", "a row of no numbers"),
        ([[1.0, 2.0], [3.0, 4.0], [5.0]], "$.inputs[2]", "2 numbers, as in row 0", "1 numbers"),
        ([[1.0], [2.0, 3.0]], "$.inputs[1]", "1 numbers, as in row 0", "2 numbers"),
        ([[1.0], []], "$.inputs[1]", "1 numbers, as in row 0", "0 numbers"),
    ],
)
def test_rows_that_are_no_matrix_are_refused_naming_the_row(
    given: list[list[float]], where: str, expected: str, got: str
):
    with pytest.raises(WrongShape) as caught:
        rows.pack(given, 7)
    assert caught.value.extra == {"where": where, "expected": expected, "got": got}
    assert str(caught.value) == f"{where}: expected {expected}, got {got}"


def test_as_many_rows_as_allowed_pass_and_one_more_does_not():
    assert rows.pack([[1.0, 2.0]] * 7, 7)[1] == (7, 2)
    with pytest.raises(TooManyRows, match="expected at most 7 rows, got 8"):
        rows.pack([[1.0, 2.0]] * 8, 7)


@pytest.mark.parametrize("value", [3.5e38, -3.5e38, 1e300])
def test_a_number_past_float32_is_refused_naming_its_place(value: float):
    with pytest.raises(NotFinite) as caught:
        rows.pack([[1.0, 2.0], [3.0, value]], 7)
    assert caught.value.extra["where"] == "$.inputs[1][1]"
    assert caught.value.extra["got"] == value


def test_the_largest_float32_passes():
    largest = float(np.finfo(np.float32).max)
    assert rows.unpack(*rows.pack([[largest, -largest]], 7)) == [(largest, -largest)]


def test_a_tensor_is_viewed_as_float32_or_int64_by_its_bytes():
    floats = StateTensor("m", "memory", (2, 3), struct.pack("<6f", *range(6)))
    integers = StateTensor("n", "counter", (3,), struct.pack("<3q", 1 << 40, -1, 2))
    assert rows.view(floats).data == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert rows.view(integers).data == [1 << 40, -1, 2]


def test_a_scalar_tensor_has_one_number():
    assert rows.view(StateTensor("n", "gate", (), struct.pack("<f", 0.5))).data == [0.5]


@pytest.mark.parametrize("memory", [[1, 2, 3, 4.0, 5, 6], [[1, 2], [3, 4.0], [5, 6]]])
def test_an_initial_tensor_may_be_nested_or_flat(memory: list[Any]):
    packed = rows.pack_state({"memory": memory}, SPEC)
    assert packed == {"memory": struct.pack("<6f", 1, 2, 3, 4, 5, 6)}


@pytest.mark.parametrize(
    ("given", "error", "where"),
    [
        ({"memroy": [1.0] * 6}, InvalidRequest, "$.state"),
        ({"memory": [1.0] * 5}, WrongShape, "$.state.memory"),
        ({"memory": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]}, WrongShape, "$.state.memory"),
        ({"memory": [[1.0, 2.0], [3.0, 4.0], [5.0]]}, WrongShape, "$.state.memory[2]"),
        ({"memory": [[1.0, 2.0], [3.0, 4.0], 5.0]}, WrongShape, "$.state.memory[2]"),
        ({"memory": [[1.0, 2.0], [3.0, [4.0]], [5.0, 6.0]]}, InvalidRequest, "$.state.memory[1]"),
        ({"usage": [1, 2, 3, 4, "5"]}, InvalidRequest, "$.state.usage[4]"),
        ({"usage": [1, 2, 3, 4, True]}, InvalidRequest, "$.state.usage[4]"),
        ({"usage": [1, 2, 3, 4, None]}, InvalidRequest, "$.state.usage[4]"),
        ({"usage": [1, 2, 3, 4, 1e39]}, NotFinite, "$.state.usage[4]"),
        ({"usage": [1, 2, 3, 4, 10**39]}, NotFinite, "$.state.usage[4]"),
        ({"usage": [1, 2, 3, 4, 10**400]}, NotFinite, "$.state.usage[4]"),
    ],
)
def test_an_initial_tensor_that_does_not_fit_the_spec_is_refused(
    given: dict[str, list[Any]], error: type[InvalidRequest], where: str
):
    with pytest.raises(InvalidRequest) as caught:
        rows.pack_state(given, SPEC)
    assert type(caught.value) is error
    assert caught.value.extra["where"].startswith(where)
    assert {"expected", "got"} <= caught.value.extra.keys()


def test_a_tensor_with_what_is_not_finite_is_viewed_as_it_is():
    found = rows.view(StateTensor("m", "memory", (2,), struct.pack("<2f", nan, 1.0))).data
    assert np.isnan(found[0]) and found[1] == 1.0
