"""A session's state as a safetensors file: data that is checked, never a program."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from service.errors import InvalidRequest
from service.results import StateResult

MEDIA_TYPE = "application/vnd.safetensors"
FORMAT = "1"
DTYPES = {"F32": 4, "I64": 8}


class Taken(msgspec.Struct, frozen=True):
    """A state file's content. spec: the fingerprint of the state spec it was written under."""

    spec: str
    step: int | None
    tensors: dict[str, bytes]


class _Metadata(msgspec.Struct, frozen=True):
    format: str
    spec: str
    step: str | None = None


class _Header(msgspec.Struct, frozen=True):
    metadata: _Metadata = msgspec.field(name="__metadata__")


_HEADER = msgspec.json.Decoder(_Header)


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
    """What a file holds. Names, sizes and numbers are checked against the model by the engine.

    Raises InvalidRequest for what is no safetensors file of a state.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        metadata = _HEADER.decode(data[8 : 8 + length]).metadata
        found = deserialize(data)
        step = None if metadata.step is None else int(metadata.step)
    except (SafetensorError, msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise _refused(f"{len(data)} bytes that are none: {error}") from None
    if metadata.format != FORMAT or (step is not None and not 0 <= step < 1 << 53):
        raise _refused(f"format {metadata.format!r}, step {metadata.step!r}")
    tensors: dict[str, bytes] = {}
    for name, tensor in found:
        if tensor["dtype"] not in DTYPES:
            raise _refused(f"{name!r} of {tensor['dtype']}")
        tensors[name] = bytes(tensor["data"])
    return Taken(metadata.spec, step, tensors)


def _refused(got: str) -> InvalidRequest:
    expected = f"a safetensors file of a state, format {FORMAT}, of F32 and I64 tensors"
    return InvalidRequest(f"the body: expected {expected}, got {got}", expected=expected)
