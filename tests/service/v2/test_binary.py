"""Bodies of JSON with raw tensors behind it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from service.errors import InvalidJson, InvalidRequest, NotFinite, NtmError, WrongShape
from service.v2.binary import Wanted, header_of, raw, read, write
from service.v2.infer import InferAnswer
from service.v2.tensors import Tensor

ROWS = np.arange(15, dtype=np.float32).reshape(1, 5, 3)


def said(data: Any = None, size: int | None = None, **more: Any) -> bytes:
    tensor: dict[str, Any] = {"name": "x", "shape": [1, 5, 3], "datatype": "FP32"}
    if data is not None:
        tensor["data"] = data
    if size is not None:
        tensor["parameters"] = {"binary_data_size": size}
    return json.dumps({"inputs": [tensor]} | more).encode()


def taken(head: bytes, tail: bytes | None = None) -> Wanted:
    if tail is None:
        return read("m", None, head, None)
    return read("m", None, head + tail, len(head))


@pytest.mark.parametrize("data", [ROWS.ravel().tolist(), ROWS.tolist()], ids=["flat", "nested"])
def test_numbers_in_json_are_those_of_the_raw_tensor(data: list[Any]):
    in_json, behind = taken(said(data)), taken(said(size=60), ROWS.tobytes())
    assert in_json == behind
    (tensor,) = in_json.request.inputs
    assert tensor == Tensor("x", "FP32", (1, 5, 3), ROWS.tobytes())


def test_what_is_said_beside_the_tensors_is_kept_and_the_rest_is_passed_over():
    body = said(
        ROWS.tolist(),
        id="r1",
        model_name="other",
        parameters={"sequence_id": 2**64 - 1, "anything": [1]},
        outputs=[{"name": "y", "parameters": {"binary_data": True}}],
    )
    wanted = taken(body)
    assert wanted.request.id == "r1" and wanted.request.outputs == ["y"]
    assert wanted.request.parameters["sequence_id"] == 2**64 - 1
    assert wanted.binary
    empty = taken(said(ROWS.tolist(), id=None, parameters=None, outputs=None))
    assert (empty.request.id, empty.request.parameters, empty.request.outputs) == ("", {}, [])


@pytest.mark.parametrize(
    ("parameters", "outputs", "binary"),
    [
        ({}, [], False),
        ({}, [{"name": "y"}], False),
        ({"binary_data_output": True}, [], True),
        ({"binary_data_output": True}, [{"name": "y"}], True),
        (
            {"binary_data_output": True},
            [{"name": "y", "parameters": {"binary_data": False}}],
            False,
        ),
        ({}, [{"name": "y", "parameters": {"binary_data": True}}], True),
    ],
)
def test_an_outputs_own_wish_goes_before_the_requests(
    parameters: dict[str, Any], outputs: list[Any], binary: bool
):
    body = said(ROWS.tolist(), parameters=parameters, outputs=outputs)
    assert taken(body).binary == binary


@pytest.mark.parametrize(
    ("head", "tail", "kind", "about"),
    [
        (said(size=60), ROWS.tobytes()[:-1], InvalidRequest, "59 bytes left, got 60"),
        (said(size=60), ROWS.tobytes() + b"x", InvalidRequest, "60 bytes behind the JSON, got 61"),
        (said(size=-4), b"", InvalidRequest, "a number of bytes, got -4"),
        (said(size=2**70), b"", InvalidRequest, f"got {2**70}"),
        (said(ROWS.tolist(), 60), ROWS.tobytes(), InvalidRequest, "got both"),
        (said(), None, InvalidRequest, "got neither"),
        (said(size=60), None, InvalidRequest, "0 bytes left, got 60"),
        (said(ROWS.tolist()), b"x", InvalidRequest, "0 bytes behind the JSON, got 1"),
        (said(7), None, InvalidRequest, "$.inputs[0].data: "),
        (said("numbers"), None, InvalidRequest, "$.inputs[0].data: "),
        (said([True] * 15), None, InvalidRequest, "$.inputs[0].data: "),
        (said(ROWS[0].tolist()), None, WrongShape, "flat or nested as the shape [1, 5, 3]"),
        (said(ROWS[:, :4].tolist()), None, WrongShape, "lists of 5, for the shape [1, 5, 3]"),
        (said([[[1, 2, 3]] * 4 + [[1, 2]]]), None, WrongShape, "lists of 3"),
        (said([1e39] * 15), None, NotFinite, "got a larger one"),
        (b'{"inputs": [{"name": "x"', b"", InvalidJson, "truncated"),
        (b"", None, InvalidJson, "an empty body"),
        (b'{"z": ' + b"[" * 100_000, None, InvalidJson, "deeply"),
        (said(ROWS.tolist()).replace(b"0.0", b"NaN"), None, NotFinite, "NaN"),
        (said(ROWS.tolist(), id=7), None, InvalidRequest, "$.id: expected str"),
        (said(ROWS.tolist(), parameters={"binary_data_output": 1}), None, InvalidRequest, "true"),
        (
            said(ROWS.tolist(), outputs=[{"name": "y", "parameters": {"classification": 2}}]),
            None, InvalidRequest, "classification",
        ),
        (
            said(size=0).replace(b"binary_data_size", b"shared_memory_region"),
            None, InvalidRequest, "shared memory",
        ),
    ],
)  # fmt: skip
def test_a_body_that_does_not_fit_together_is_refused_by_name(
    head: bytes, tail: bytes | None, kind: type[NtmError], about: str
):
    with pytest.raises(kind) as raised:
        taken(head, tail)
    assert about in raised.value.detail


@pytest.mark.parametrize(
    "value", [b"", b"-1", b"1.0", b"+3", b"0x1", b" 3", b"11", b"9" * 30, b"\xb2"]
)
def test_a_header_that_is_no_length_within_the_body_is_refused(value: bytes):
    with pytest.raises(InvalidRequest, match="at most the body's 10"):
        header_of(value, 10)


def test_a_header_tells_where_the_json_ends():
    assert [header_of(value, 10) for value in (None, b"0", b"7", b"10")] == [None, 0, 7, 10]


def test_a_raw_body_is_rows_from_fresh_state():
    wanted = raw("m", "2", ROWS.tobytes(), 3)
    assert wanted.binary
    assert wanted.request.inputs == [Tensor("x", "FP32", (5, 3), ROWS.tobytes())]
    for data in (b"", ROWS.tobytes()[:-4], b"\0"):
        with pytest.raises(WrongShape, match="rows of 12 bytes"):
            raw("m", None, data, 3)


@pytest.mark.parametrize("binary", [True, False])
def test_an_answer_reads_back_as_the_same_float32(binary: bool):
    values = np.array([[1 / 3, -0.1, 3e38]], np.float32)
    answer = InferAnswer(
        "m", "1", "r1", {"step": 2}, [Tensor("y", "FP32", (1, 3), values.tobytes())]
    )
    body, header = write(answer, binary)
    head = json.loads(body[:header])
    assert (head["model_name"], head["model_version"], head["id"]) == ("m", "1", "r1")
    assert head["parameters"] == {"step": 2}
    (output,) = head["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("y", "FP32", [1, 3])
    if binary:
        assert output["parameters"] == {"binary_data_size": 12}
        assert body[header:] == values.tobytes()
    else:
        assert header is None
        assert np.array(output["data"], np.float32).tobytes() == values.tobytes()
