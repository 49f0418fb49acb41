from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.errors import InvalidRequest
from service.grpc import convert
from service.grpc.classes import messages
from service.v2.infer import InferAnswer
from service.v2.tensors import Tensor

ROW = np.array([[0.5, -1.25, 3.0]], np.float32)


def request(**fields: Any) -> Any:
    made = messages()["ModelInferRequest"](model_name="small", **fields)
    made.inputs.add(name="x", datatype="FP32", shape=[1, 3])
    return made


def test_a_request_reads_the_same_from_raw_bytes_and_from_a_list():
    raw, listed = request(id="r1", model_version="2"), request(id="r1", model_version="2")
    raw.raw_input_contents.append(ROW.tobytes())
    listed.inputs[0].contents.fp32_contents.extend(ROW[0].tolist())
    read = convert.infer_request(raw)
    assert read == convert.infer_request(listed)
    assert (read.model, read.version, read.id) == ("small", "2", "r1")
    assert read.inputs == [Tensor("x", "FP32", (1, 3), ROW.tobytes())]


def test_a_request_without_version_is_for_the_newest():
    assert convert.infer_request(request()).version is None


def test_asked_outputs_are_named():
    made = request()
    made.outputs.add(name="y")
    assert convert.infer_request(made).outputs == ["y"]


@pytest.mark.parametrize(
    "value", [True, False, 0, -7, 2**63 - 1, 2**63, 2**64 - 1, 0.5, "", "seven"]
)
def test_a_parameter_keeps_its_kind_and_value(value: Any):
    made = request()
    convert.set_parameter(made.parameters["given"], value)
    (read,) = convert.infer_request(made).parameters.values()
    assert (type(read), read) == (type(value), value)


def test_a_parameter_without_a_value_is_refused_by_name():
    made = request()
    made.parameters["sequence_id"].SetInParent()
    with pytest.raises(InvalidRequest, match="'sequence_id': expected a value, got none"):
        convert.infer_request(made)


@pytest.mark.parametrize("count", [2, 3])
def test_raw_contents_are_as_many_as_the_inputs(count: int):
    made = request(raw_input_contents=[ROW.tobytes()] * count)
    with pytest.raises(InvalidRequest, match=f"one for each of 1 inputs.* got {count}"):
        convert.infer_request(made)


def test_an_input_has_its_data_once():
    made = request(raw_input_contents=[ROW.tobytes()])
    made.inputs[0].contents.fp32_contents.append(0.5)
    with pytest.raises(InvalidRequest, match="none of them with contents"):
        convert.infer_request(made)


@pytest.mark.parametrize("raw", [True, False])
def test_an_answer_s_numbers_are_raw_or_listed(raw: bool):
    output = Tensor("y", "FP32", (1, 3), ROW.tobytes())
    message = convert.infer_response(InferAnswer("small", "2", "r1", {"step": 4}, [output]), raw)
    assert (message.model_name, message.model_version, message.id) == ("small", "2", "r1")
    assert message.parameters["step"].int64_param == 4
    (told,) = message.outputs
    assert (told.name, told.datatype, list(told.shape)) == ("y", "FP32", [1, 3])
    assert list(message.raw_output_contents) == ([ROW.tobytes()] if raw else [])
    assert list(told.contents.fp32_contents) == ([] if raw else ROW[0].tolist())


def test_the_id_of_bytes_that_are_no_request_is_empty():
    assert convert.id_of(request(id="r7").SerializeToString()) == "r7"
    assert convert.id_of(b"\xff\xff\xff") == ""
