"""Between the protocol's messages and what service/v2 takes and gives."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from service.errors import InvalidRequest
from service.grpc.classes import messages
from service.v2.infer import InferAnswer, InferRequest
from service.v2.tensors import DATATYPE, Tensor

MAX_INT64 = 2**63 - 1
LISTS = {
    "BOOL": "bool_contents", "INT64": "int64_contents", "UINT64": "uint64_contents",
    "FP32": "fp32_contents", "FP64": "fp64_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
}  # fmt: skip
FINAL = "triton_final_response"  # what clients that stream look for in a request's last answer


def infer_request(message: Any) -> InferRequest:
    """What a ModelInferRequest asks. Raises InvalidRequest."""
    return InferRequest(
        model=message.model_name,
        version=message.model_version or None,
        inputs=_inputs(message),
        outputs=[output.name for output in message.outputs],
        id=message.id,
        parameters=parameters(message.parameters),
    )


def parameters(given: Any) -> dict[str, Any]:
    """A map of parameters as plain values. Raises InvalidRequest for one without a value."""
    return {name: _value(name, given[name]) for name in given}


def _value(name: str, parameter: Any) -> Any:
    choice = parameter.WhichOneof("parameter_choice")
    if choice is None:
        raise InvalidRequest(f"parameter {name!r}: expected a value, got none", where=name)
    return getattr(parameter, choice)


def _inputs(message: Any) -> list[Tensor]:
    raw, inputs = message.raw_input_contents, message.inputs
    if not raw:
        return [_listed(tensor) for tensor in inputs]
    if len(raw) != len(inputs) or any(tensor.HasField("contents") for tensor in inputs):
        raise InvalidRequest(
            f"raw_input_contents: expected one for each of {len(inputs)} inputs, and none of them"
            f" with contents, got {len(raw)}",
            where="raw_input_contents",
        )
    return [_tensor(tensor, data) for tensor, data in zip(inputs, raw, strict=True)]


def _tensor(tensor: Any, data: bytes) -> Tensor:
    return Tensor(tensor.name, tensor.datatype, tuple(tensor.shape), data)


def _listed(tensor: Any) -> Tensor:
    """Numbers as a list, of the field that the protocol has for their datatype."""
    field = LISTS.get(tensor.datatype)
    if field is None:
        return _tensor(tensor, b"")
    with np.errstate(over="ignore"):  # which makes an infinity, and that is refused
        data = np.asarray(getattr(tensor.contents, field), "<f4").tobytes()
    return Tensor(tensor.name, DATATYPE, tuple(tensor.shape), data)


def infer_response(answer: InferAnswer, raw: bool) -> Any:
    """A ModelInferResponse. raw: tensors as bytes; else as lists of numbers."""
    message = messages()["ModelInferResponse"](
        model_name=answer.model, model_version=answer.version, id=answer.id
    )
    for name, value in answer.parameters.items():
        set_parameter(message.parameters[name], value)
    for tensor in answer.outputs:
        told = message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if raw:
            message.raw_output_contents.append(tensor.data)
        else:
            told.contents.fp32_contents.extend(np.frombuffer(tensor.data, "<f4").tolist())
    return message


def id_of(data: bytes) -> str:
    """The id of a ModelInferRequest; "" where the bytes are none."""
    try:
        return messages()["ModelInferRequest"].FromString(data).id
    except DecodeError:
        return ""


def set_parameter(parameter: Any, value: bool | int | float | str) -> None:
    """Put a value into an InferParameter, in the field of its kind."""
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int):
        setattr(parameter, "uint64_param" if value > MAX_INT64 else "int64_param", value)
    elif isinstance(value, float):
        parameter.double_param = value
    else:
        parameter.string_param = value


def filled(name: str, value: Any) -> Any:
    """The message of this name with the fields of a struct or dict."""
    return json_format.ParseDict(msgspec.to_builtins(value), messages()[name]())
