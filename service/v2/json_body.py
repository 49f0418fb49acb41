"""The JSON of an inference: what a request says, and the numbers in it."""

from __future__ import annotations

import re
import struct
from itertools import chain
from typing import Any

import msgspec

from service.body import FLOAT32, decode
from service.errors import InvalidRequest, NotFinite, WrongShape

OPENING = re.compile(rb"[\s\[]*")


class InputJson(msgspec.Struct, frozen=True):
    """A tensor with its data here, or behind the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: msgspec.Raw = msgspec.Raw()

    @property
    def has_data(self) -> bool:
        """Is there data in the JSON? null is none."""
        return bytes(self.data) not in (b"", b"null")


class OutputJson(msgspec.Struct, frozen=True):
    """A tensor that is asked for."""

    name: str
    parameters: dict[str, Any] | None = None


class InferJson(msgspec.Struct, frozen=True):
    """An inference request. Members that are not named here are passed over."""

    inputs: list[InputJson]
    outputs: list[OutputJson] | None = None
    id: str | None = None
    parameters: dict[str, Any] | None = None


class OutputTensorJson(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tensor of the answer."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: dict[str, Any] = {}
    data: tuple[float, ...] | None = None


class AnswerJson(msgspec.Struct, frozen=True, omit_defaults=True):
    """An inference response."""

    model_name: str
    model_version: str
    outputs: list[OutputTensorJson]
    id: str = ""
    parameters: dict[str, Any] = {}


REQUEST = msgspec.json.Decoder(InferJson)
ENCODER = msgspec.json.Encoder()
FLAT = msgspec.json.Decoder(list[float])
NESTED: dict[int, msgspec.json.Decoder[Any]] = {
    2: msgspec.json.Decoder(list[list[float]]),
    3: msgspec.json.Decoder(list[list[list[float]]]),
}


def floats(raw: msgspec.Raw, shape: list[int], where: str) -> bytes:
    """Numbers, flat or nested as their shape is, as raw float32.

    Raises InvalidRequest, WrongShape and NotFinite.
    """
    text = bytes(raw)
    opened = OPENING.match(text)
    depth = opened[0].count(b"[") if opened else 0
    if depth < 2:
        numbers = _decoded(FLAT, text, where)
    elif depth == len(shape) and depth in NESTED:
        numbers = _flat(_decoded(NESTED[depth], text, where), shape, where)
    else:
        expected, got = f"a list, flat or nested as the shape {shape}", f"{depth} levels"
        raise WrongShape(f"{where}: expected {expected}, got {got}", expected=expected, got=got)
    try:
        return struct.pack(f"<{len(numbers)}f", *numbers)
    except OverflowError:
        raise NotFinite(
            f"{where}: expected each number to be {FLOAT32}, got a larger one",
            expected=FLOAT32, got="a larger one",
        ) from None  # fmt: skip


def _decoded(decoder: msgspec.json.Decoder[Any], text: bytes, where: str) -> list[Any]:
    try:
        return decode(decoder, text)
    except InvalidRequest as error:
        error.detail = f"{where}: {error.detail}"
        raise


def _flat(nested: list[Any], shape: list[int], where: str) -> list[float]:
    level: list[Any] = [nested]
    for size in shape:
        for part in level:
            if len(part) != size:
                raise _ragged(where, size, len(part), shape)
        level = list(chain.from_iterable(level))
    return level


def _ragged(where: str, size: int, got: int, shape: list[int]) -> WrongShape:
    expected = f"lists of {size}, for the shape {shape}"
    return WrongShape(
        f"{where}: expected {expected}, got one of {got}", expected=expected, got=got, where=where
    )
