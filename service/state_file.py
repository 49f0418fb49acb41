"""A session's state as a safetensors file: data that is checked, never a program."""

from __future__ import annotations

from math import prod
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from export.bundle import MAX_AXES
from service.errors import InvalidRequest
from service.requests import Given
from service.results import StateResult
from service.schemas import MAX_INTEGER

MEDIA_TYPE = "application/vnd.safetensors"
FORMAT = "1"
METADATA = "__metadata__"
DTYPES = {"F32": ("float32", 4), "I64": ("int64", 8)}
MAX_TENSORS = 1024
Count = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]


class Taken(msgspec.Struct, frozen=True):
    """A state file's content. spec: the fingerprint of the state spec it was written under."""

    spec: str
    step: int | None
    tensors: dict[str, Given]


class _Metadata(msgspec.Struct, frozen=True):
    format: str
    spec: str
    step: str | None = None


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tensor, as the header announces it."""

    dtype: Literal["F32", "I64"]
    shape: Annotated[tuple[Count, ...], Meta(max_length=MAX_AXES)]
    data_offsets: tuple[Count, Count]


_HEADER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_METADATA = msgspec.json.Decoder(_Metadata)
_ENTRY = msgspec.json.Decoder(_Entry)


def write(state: StateResult) -> bytes:
    """The file of a state."""
    tensors: dict[str, NDArray[Any]] = {}
    for tensor in state.tensors:
        size = int(np.prod(tensor.dims))
        dtype = np.int64 if size and len(tensor.data) == 8 * size else np.float32
        tensors[tensor.name] = np.frombuffer(tensor.data, dtype).reshape(tensor.dims)
    metadata = {
        "format": FORMAT,
        "spec": state.spec,
        "step": str(state.step),
        "model": state.model,
        "version": state.version,
    }
    return save(tensors, metadata)


def read(data: bytes) -> Taken:
    """What a file holds. Its header is checked before a tensor is taken out; names, dims and
    numbers are checked against the model by the engine.

    Raises InvalidRequest for what is no safetensors file of a state.
    """
    try:
        said = _header(data)
        metadata = _METADATA.decode(said.pop(METADATA, b"{}"))
        entries = {name: _announced(name, raw, len(data)) for name, raw in said.items()}
        found = deserialize(data)  # which checks that the tensors lie one behind the other
        step = None if metadata.step is None else int(metadata.step)
    except RecursionError:
        raise _refused("a header that is nested too deeply") from None
    except (SafetensorError, msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise _refused(f"{len(data)} bytes that are none: {error}") from None
    if metadata.format != FORMAT or (step is not None and not 0 <= step <= MAX_INTEGER):
        raise _refused(f"format {metadata.format!r}, step {metadata.step!r}")
    tensors = {
        name: Given(DTYPES[entries[name].dtype][0], entries[name].shape, bytes(tensor["data"]))
        for name, tensor in found
    }
    return Taken(metadata.spec, step, tensors)


def _header(data: bytes) -> dict[str, msgspec.Raw]:
    length = int.from_bytes(data[:8], "little")
    if length > len(data) - 8:
        raise ValueError(f"a header of {length} bytes should lie in them")
    said = _HEADER.decode(data[8 : 8 + length])
    if len(said) > MAX_TENSORS:
        raise ValueError(f"expected at most {MAX_TENSORS} tensors, got {len(said)}")
    return said


def _announced(name: str, raw: msgspec.Raw, most: int) -> _Entry:
    """An entry whose dtype, shape and offsets agree. Raises ValueError and DecodeError."""
    entry = _ENTRY.decode(raw)
    begin, end = entry.data_offsets
    size = prod(entry.shape) * DTYPES[entry.dtype][1]
    if end - begin != size or end > most:
        raise ValueError(
            f"{name!r} of {entry.dtype} {list(entry.shape)} should have {size} of the bytes, "
            f"got offsets {begin} to {end}"
        )
    return entry


def _refused(got: str) -> InvalidRequest:
    expected = f"a safetensors file of a state, format {FORMAT}, of F32 and I64 tensors"
    return InvalidRequest(f"the body: expected {expected}, got {got}", expected=expected)
