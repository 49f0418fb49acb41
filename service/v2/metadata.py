"""What the server and its models are, in the protocol's terms and Triton's."""

from __future__ import annotations

from typing import Any

import msgspec

from model.state import TensorSpec
from service import names
from service.errors import ModelNotFound, NtmError
from service.front_state import FrontState
from service.metrics import package_version
from service.requests import Health, ListModels
from service.results import HealthInfo, ModelInfo
from service.v2.tensors import DATATYPE
from service.versions import order

NAME = "ntm-serve"
EXTENSIONS = [
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "sequence",
    "sequence(string_id)",
    "statistics",
]
# Runtime -> what Triton calls it: platform, backend.
PLATFORMS = {"onnx": ("onnxruntime_onnx", "onnxruntime")}
TORCH = ("pytorch_libtorch", "pytorch")
TYPES = {"float32": "TYPE_FP32", "int64": "TYPE_INT64"}
HEALTH_TIMEOUT_S = 2.0

MODELS = msgspec.msgpack.Decoder(list[ModelInfo])
HEALTH = msgspec.msgpack.Decoder(HealthInfo)


class ServerMetadata(msgspec.Struct, frozen=True):
    """The server and the extensions of the protocol that it speaks."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(msgspec.Struct, frozen=True):
    """-1 stands for the batch."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct, frozen=True):
    """A model, the versions of it that are loaded, and its tensors."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


def server_metadata() -> ServerMetadata:
    """The server itself."""
    return ServerMetadata(NAME, package_version(), EXTENSIONS)


async def server_ready(front: FrontState, request_id: str) -> HealthInfo:
    """Is every model loaded and warmed? An engine that is away is not ready."""
    try:
        return await front.link.call(
            HEALTH, Health(), request_id=request_id, timeout_s=HEALTH_TIMEOUT_S
        )
    except NtmError as error:
        return HealthInfo(False, error.detail)


async def model_metadata(
    front: FrontState, name: str, version: str | None, request_id: str
) -> ModelMetadata:
    """A loaded model. Raises NtmError."""
    found = await versions_of(front, name, version, request_id)
    newest = found[-1]
    return ModelMetadata(
        name,
        [info.manifest.version for info in found],
        PLATFORMS.get(newest.runtime, TORCH)[0],
        [_metadata(newest.manifest.input)],
        [_metadata(newest.manifest.output)],
    )


async def model_config(
    front: FrontState, name: str, version: str | None, request_id: str
) -> dict[str, Any]:
    """A loaded model as Triton's ModelConfig. Raises NtmError."""
    newest = (await versions_of(front, name, version, request_id))[-1]
    manifest = newest.manifest
    platform, backend = PLATFORMS.get(newest.runtime, TORCH)
    return {
        "name": name,
        "platform": platform,
        "backend": backend,
        "version_policy": {"all": {}},
        "max_batch_size": newest.max_batch,
        "input": [_config(manifest.input)],
        "output": [_config(manifest.output)],
        "sequence_batching": {
            "max_sequence_idle_microseconds": int(front.settings.idle_ttl_s * 1e6),
            "state": [_state(tensor) for tensor in manifest.state],
        },
    }


async def model_ready(front: FrontState, name: str, version: str | None, request_id: str) -> bool:
    """Is this model loaded, in this version where one is named?"""
    try:
        return bool(await versions_of(front, name, version, request_id))
    except ModelNotFound:
        return False


async def versions_of(
    front: FrontState, name: str, version: str | None, request_id: str
) -> list[ModelInfo]:
    """The loaded versions of a model, the newest last; one where it is named.

    Raises ModelNotFound where that is none.
    """
    names.model(name)
    names.version(version)
    infos = await loaded(front, request_id)
    found = [
        info
        for info in infos
        if info.manifest.name == name and version in (None, info.manifest.version)
    ]
    if not found:
        wanted = name if version is None else f"{name} {version}"
        there = ", ".join(f"{info.manifest.name} {info.manifest.version}" for info in infos)
        raise ModelNotFound(f"expected one of {there or 'no models'}, got {wanted!r}")
    return found


async def loaded(front: FrontState, request_id: str) -> list[ModelInfo]:
    """Every loaded model and version, the versions of one in their order. Raises NtmError."""
    infos = await front.link.call(MODELS, ListModels(), request_id=request_id)
    return sorted(infos, key=lambda info: (info.manifest.name, order(info.manifest.version)))


def _metadata(tensor: TensorSpec) -> TensorMetadata:
    return TensorMetadata(tensor.name, DATATYPE, [-1, *tensor.dims])


def _config(tensor: TensorSpec) -> dict[str, Any]:
    return {"name": tensor.name, "data_type": TYPES[tensor.dtype], "dims": list(tensor.dims)}


def _state(tensor: TensorSpec) -> dict[str, Any]:
    return {
        "input_name": tensor.name,
        "output_name": f"{tensor.name}_next",
        "data_type": TYPES[tensor.dtype],
        "dims": list(tensor.dims),
    }
