"""The loaded models."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, get
from litestar.params import FromQuery
from litestar.response.base import ASGIResponse

from service import gate, names, openapi
from service.errors import ModelNotFound
from service.front_state import FrontState, answer, front_of, request_id
from service.requests import ListModels
from service.results import ModelInfo
from service.routes.paths import model_name
from service.schemas import ModelDetail, ModelList, ModelSummary
from service.versions import order

MODELS = msgspec.msgpack.Decoder(list[ModelInfo])


@get("/v1/models", opt=gate.READ, operation_class=openapi.operation("models", ModelList))
async def list_models(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Every loaded model, and what runs it."""
    infos = await front_of(request).link.call(MODELS, ListModels(), request_id=request_id(request))
    return answer(request, ModelList([summary(info) for info in infos]))


@get(
    "/v1/models/{model:str}",
    opt=gate.READ,
    operation_class=openapi.operation("models", ModelDetail),
)
async def describe_model(
    request: Request[Any, Any, Any], version: FromQuery[str | None] = None
) -> ASGIResponse:
    """A model's manifest: what goes in and out, its state, its training card."""
    front, name = front_of(request), model_name(request)
    return answer(request, detail(await find_model(front, request, name, version)))


async def find_model(
    front: FrontState, request: Request[Any, Any, Any], name: str, version: str | None
) -> ModelInfo:
    """A loaded model, in its newest version where none is named. Raises ModelNotFound."""
    names.version(version)
    infos = await front.link.call(MODELS, ListModels(), request_id=request_id(request))
    found = [
        info
        for info in infos
        if info.manifest.name == name and version in (None, info.manifest.version)
    ]
    if found:
        return max(found, key=lambda info: order(info.manifest.version))
    loaded = ", ".join(f"{info.manifest.name} {info.manifest.version}" for info in infos)
    expected = f"one of {loaded}" if loaded else "a loaded model, of which there is none"
    got = name if version is None else f"{name} {version}"
    raise ModelNotFound(f"expected {expected}, got {got!r}", expected=expected, got=got)


def summary(info: ModelInfo) -> ModelSummary:
    """A model as the list shows it."""
    manifest = info.manifest
    return ModelSummary(
        **_shared(info), input_dims=manifest.input.dims, output_dims=manifest.output.dims
    )


def detail(info: ModelInfo) -> ModelDetail:
    """A model with its whole manifest."""
    return ModelDetail(**(msgspec.structs.asdict(info.manifest) | _shared(info)))


def _shared(info: ModelInfo) -> dict[str, Any]:
    manifest = info.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "family": manifest.family,
        "task": manifest.task,
        "runtime": info.runtime,
        "runtime_reason": info.runtime_reason,
        "device": info.device,
        "batch_multiple": info.batch_multiple,
        "max_batch": info.max_batch,
        "slots": info.slots,
        "fingerprint": info.fingerprint,
    }
