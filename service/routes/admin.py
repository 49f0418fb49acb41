"""Models coming and going while the server runs."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, delete, post
from litestar.params import FromPath, FromQuery
from litestar.response.base import ASGIResponse

from service import gate, names, openapi
from service.front_state import answer, front_of, request_id
from service.requests import Reload, Unload
from service.results import ModelInfo
from service.routes.models import summary
from service.routes.paths import model_name
from service.schemas import ModelList

MODELS = msgspec.msgpack.Decoder(list[ModelInfo])
NOTHING = msgspec.msgpack.Decoder(None)

AnyRequest = Request[Any, Any, Any]


@post(
    "/v1/models/reload",
    opt=gate.ADMIN,
    status_code=200,
    operation_class=openapi.operation("models", ModelList, 409),
)
async def reload_models(request: AnyRequest) -> ASGIResponse:
    """Load the bundles that are new under NTM_MODELS; the answer lists them. SIGHUP does the same.

    What runs goes on: no request is dropped, and sessions stay on their version.
    """
    link = front_of(request).link
    infos = await link.call(MODELS, Reload(), request_id=request_id(request))
    return answer(request, ModelList([summary(info) for info in infos]))


@delete(
    "/v1/models/{model:str}/versions/{version:str}",
    opt=gate.ADMIN,
    status_code=204,
    operation_class=openapi.operation("models", None, 409),
)
async def unload_model(
    request: AnyRequest, version: FromPath[str], force: FromQuery[bool] = False
) -> None:
    """Serve a version no longer. While it has live sessions only with force=true; they stay in
    the store, and answer 503 model_not_loaded until the version is loaded again."""
    call = Unload(model_name(request), names.version(version), force)
    await front_of(request).link.call(NOTHING, call, request_id=request_id(request))
