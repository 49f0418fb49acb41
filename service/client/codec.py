"""Arrays and structs as they go over the wire: MessagePack with raw little-endian float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import prod
from typing import Any, TypeAlias, TypeVar

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.client.answers import Floats, NamedTensor
from service.client.errors import BadAnswer, Misuse
from service.client.exchange import Reply

MSGPACK = "application/msgpack"
Rows: TypeAlias = ArrayLike  # (T, X), or (X,) for one row
T = TypeVar("T")

encode = msgspec.msgpack.Encoder().encode


class Raw(msgspec.Struct, frozen=True):
    """Numbers as they lie in memory."""

    dims: tuple[int, ...]
    data: bytes


class View(msgspec.Struct, frozen=True):
    """A named tensor of an answer."""

    name: str
    role: str
    dims: tuple[int, ...]
    data: bytes
    dtype: str = "float32"


def pack(rows: Rows) -> Raw:
    """Rows (T, X), or one row (X,), as float32. Raises Misuse for what is neither."""
    array = floats_of(rows, "rows")
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2:
        raise Misuse(f"rows: expected (T, X) or (X,), got an array of shape {array.shape}")
    return raw(array)


def raw(array: Floats) -> Raw:
    """An array as it is."""
    return Raw(array.shape, array.astype("<f4").tobytes())


def floats_of(values: ArrayLike, what: str) -> Floats:
    """Values as float32. What it cannot hold becomes an infinity, which the server refuses.

    Raises Misuse for strings, null and lists of several lengths.
    """
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise Misuse(f"{what}: expected numbers of one shape, got what is not: {error}") from None
    if array.dtype.kind not in "biuf":
        raise Misuse(f"{what}: expected numbers, got an array of {array.dtype}")
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def array_of(told: Raw) -> Floats:
    """Outputs, writable. Raises BadAnswer where bytes and dims differ."""
    return _array(told.data, told.dims, "<f4")


def tensors_of(views: Sequence[View]) -> dict[str, NamedTensor]:
    """Tensors by name. Raises BadAnswer."""
    return {
        view.name: NamedTensor(
            view.name,
            view.role,
            _array(view.data, view.dims, "<i8" if view.dtype == "int64" else "<f4"),
        )
        for view in views
    }


def plain_tensors(views: Sequence[Mapping[str, Any]]) -> dict[str, NamedTensor]:
    """The same from JSON, as events have them. Raises BadAnswer."""
    found: dict[str, NamedTensor] = {}
    for view in views:
        try:
            kind = np.int64 if view.get("dtype") == "int64" else np.float32
            array = np.array(view["data"], kind).reshape(view["dims"])  # null becomes NaN
            found[view["name"]] = NamedTensor(view["name"], view["role"], array)
        except (KeyError, TypeError, ValueError) as error:
            raise BadAnswer(f"a tensor in an event: {error}") from None
    return found


def decode(kind: type[T], reply: Reply) -> T:
    """An answer's body, in the form that its Content-Type says. Raises BadAnswer."""
    plain = "json" in reply.headers.get("content-type", "")
    try:
        return _decoders(kind)[plain].decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadAnswer(
            f"expected {kind.__name__}, got {len(reply.body)} bytes of "
            f"{reply.headers.get('content-type', 'no type')!r}: {error}"
        ) from None


def unpack(kind: type[T], data: bytes) -> T:
    """A MessagePack document. Raises BadAnswer."""
    return decode(kind, Reply(200, {"content-type": MSGPACK}, data))


@lru_cache(64)
def _decoders(kind: Any) -> tuple[msgspec.msgpack.Decoder[Any], msgspec.json.Decoder[Any]]:
    return msgspec.msgpack.Decoder(kind), msgspec.json.Decoder(kind)


def _array(data: bytes, dims: tuple[int, ...], dtype: str) -> NDArray[Any]:
    wanted = prod(dims) * np.dtype(dtype).itemsize
    if len(data) != wanted:
        raise BadAnswer(f"expected {wanted} bytes for dims {list(dims)}, got {len(data)}")
    return np.frombuffer(data, dtype).reshape(dims).copy()
