"""The binary tensor extension: JSON first, then raw tensors in the order in which it names them.

A header tells where the JSON ends, counted in the body as it is without compression. Bodies are
read by that header alone: no client's Content-Type says what they are.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from service.body import decode
from service.errors import InvalidRequest, WrongShape
from service.v2.infer import InferAnswer, InferRequest
from service.v2.json_body import (
    ENCODER,
    REQUEST,
    AnswerJson,
    InferJson,
    InputJson,
    OutputTensorJson,
    floats,
)
from service.v2.tensors import DATATYPE, DTYPES, INPUT, ITEM_BYTES, Tensor

HEADER = "Inference-Header-Content-Length"
SIZE = "binary_data_size"


class Wanted(msgspec.Struct, frozen=True):
    """A request, and whether its outputs are to come as raw bytes."""

    request: InferRequest
    binary: bool


def header_of(value: bytes | None, body_bytes: int) -> int | None:
    """The length of the JSON; None where the whole body is JSON. Raises InvalidRequest."""
    if value is None:
        return None
    # isdigit also takes what int() does not, but never of ASCII.
    if not (value.isdigit() and len(value) <= 20 and int(value) <= body_bytes):
        expected = f"a number of bytes, at most the body's {body_bytes}"
        raise _invalid(HEADER, expected, repr(value.decode("latin-1")))
    return int(value)


def read(model: str, version: str | None, body: bytes, header: int | None) -> Wanted:
    """The request that a body says. Raises InvalidRequest, WrongShape and NotFinite."""
    said = decode(REQUEST, body if header is None else body[:header])
    inputs = _inputs(said.inputs, memoryview(b"" if header is None else body)[header or 0 :])
    outputs = said.outputs or []
    request = InferRequest(
        model,
        version,
        inputs,
        [output.name for output in outputs],
        said.id or "",
        said.parameters or {},
    )
    return Wanted(request, _wants_binary(said))


def raw(model: str, version: str | None, body: bytes, width: int) -> Wanted:
    """The request of a body that is nothing but rows of `width` numbers, each from fresh state;
    the answer is raw too. Raises WrongShape."""
    row = width * ITEM_BYTES
    if not body or len(body) % row:
        expected, got = f"rows of {row} bytes", f"{len(body)} bytes"
        raise WrongShape(f"the body: expected {expected}, got {got}", expected=expected, got=got)
    rows = Tensor(INPUT, DATATYPE, (len(body) // row, width), body)
    return Wanted(InferRequest(model, version, [rows]), True)


def write(answer: InferAnswer, binary: bool) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON where raw tensors follow."""
    outputs = [_output(tensor, binary) for tensor in answer.outputs]
    head = ENCODER.encode(
        AnswerJson(answer.model, answer.version, outputs, answer.id, answer.parameters)
    )
    if not binary:
        return head, None
    return b"".join([head, *(tensor.data for tensor in answer.outputs)]), len(head)


def _inputs(said: list[InputJson], raw: memoryview) -> list[Tensor]:
    found: list[Tensor] = []
    at = 0
    for index, tensor in enumerate(said):
        where = f"$.inputs[{index}]"
        size = _size(tensor.parameters or {}, where)
        datatype = tensor.datatype
        if size is None:
            data = _numbers(tensor, where)
            datatype = DATATYPE if datatype in DTYPES else datatype  # the numbers are packed so
        elif tensor.has_data:
            raise _invalid(where, f"data or {SIZE}", "both")
        elif size > len(raw) - at:
            raise _invalid(f"{where}: {SIZE}", f"at most the {len(raw) - at} bytes left", str(size))
        else:
            data, at = bytes(raw[at : at + size]), at + size
        found.append(Tensor(tensor.name, datatype, tuple(tensor.shape), data))
    if at != len(raw):
        raise _invalid("the body", f"{at} bytes behind the JSON", str(len(raw)))
    return found


def _size(parameters: dict[str, Any], where: str) -> int | None:
    """The bytes of a raw tensor; None where its data is in the JSON."""
    if "shared_memory_region" in parameters:
        raise _invalid(where, "data in the body", "shared memory, which is not served")
    size = parameters.get(SIZE)
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
        raise _invalid(f"{where}: {SIZE}", "a number of bytes", repr(size))
    return size


def _numbers(tensor: InputJson, where: str) -> bytes:
    if not tensor.has_data:
        raise _invalid(where, f"data or {SIZE}", "neither")
    return floats(tensor.data, tensor.shape, f"{where}.data")


def _wants_binary(said: InferJson) -> bool:
    wanted = _flag(said.parameters or {}, "binary_data_output", False, "$.parameters")
    for index, output in enumerate(said.outputs or []):
        parameters, where = output.parameters or {}, f"$.outputs[{index}].parameters"
        for name in ("classification", "shared_memory_region"):
            if parameters.get(name):
                raise _invalid(where, "no other form than the tensor itself", name)
        wanted = _flag(parameters, "binary_data", wanted, where)
    return wanted


def _flag(parameters: dict[str, Any], name: str, default: bool, where: str) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise _invalid(f"{where}.{name}", "true or false", repr(value))
    return value


def _output(tensor: Tensor, binary: bool) -> OutputTensorJson:
    if binary:
        told = {SIZE: len(tensor.data)}
        return OutputTensorJson(tensor.name, tensor.datatype, tensor.shape, told)
    numbers = struct.unpack(f"<{len(tensor.data) // 4}f", tensor.data)
    return OutputTensorJson(tensor.name, tensor.datatype, tensor.shape, data=numbers)


def _invalid(where: str, expected: str, got: str) -> InvalidRequest:
    return InvalidRequest(
        f"{where}: expected {expected}, got {got}", expected=expected, got=got, where=where
    )
