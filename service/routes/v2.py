"""The Open Inference Protocol V2: inference, and what the server and its models are."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.response.base import ASGIResponse

from service import body, depth, gate
from service.front_state import FrontState, front_of, json_answer, request_id, tenant_of
from service.v2 import binary, bodies, compression, metadata, repository, statistics
from service.v2.infer import Caller, infer
from service.v2.statistics import ModelStats

AnyRequest = Request[Any, Any, Any]
Paths = list[str]


class RepositoryBody(msgspec.Struct, frozen=True):
    """What is asked of the repository. The body may be left out."""

    ready: bool = False
    parameters: dict[str, Any] | None = None


class StatsAnswer(msgspec.Struct, frozen=True):
    """Of each model and version that was asked for."""

    model_stats: list[ModelStats]


class Liveness(msgspec.Struct, frozen=True):
    """This process answers."""

    live: bool


class Readiness(msgspec.Struct, frozen=True, omit_defaults=True):
    """Can it serve? `error` says why not."""

    ready: bool
    error: str = ""


REPOSITORY_BODY = msgspec.json.Decoder(RepositoryBody)


def _of_model(tail: str = "") -> Paths:
    """A model's path and that of one of its versions."""
    model = "/v2/models/{model:str}"
    return [f"{model}{tail}", f"{model}/versions/{{version:str}}{tail}"]


@get("/v2", opt=gate.OPEN, include_in_schema=False)
async def describe_server() -> ASGIResponse:
    """The server's name, version and extensions."""
    return json_answer(metadata.server_metadata())


@get("/v2/health/live", opt=gate.OPEN, include_in_schema=False)
async def server_live() -> ASGIResponse:
    """This front process answers."""
    return json_answer(Liveness(True))


@get("/v2/health/ready", opt=gate.OPEN, include_in_schema=False)
async def server_ready(request: AnyRequest) -> ASGIResponse:
    """The engine is there and every model is loaded and warmed; otherwise 400 and the reason."""
    found = await metadata.server_ready(front_of(request), request_id(request))
    if found.ready:
        return json_answer(Readiness(True))
    return json_answer(Readiness(False, f"not_ready: {found.reason}"), 400)


@get(_of_model("/ready"), opt=gate.READ, include_in_schema=False)
async def model_ready(request: AnyRequest) -> ASGIResponse:
    """The model, and the version where one is named, is loaded; otherwise 404."""
    await metadata.versions_of(*_asked(request))
    return json_answer(Readiness(True))


@get(_of_model(), opt=gate.READ, include_in_schema=False)
async def describe(request: AnyRequest) -> ASGIResponse:
    """A model's loaded versions, its input and its output."""
    return json_answer(await metadata.model_metadata(*_asked(request)))


@get(_of_model("/config"), opt=gate.READ, include_in_schema=False)
async def configuration(request: AnyRequest) -> ASGIResponse:
    """A model as Triton's configuration."""
    return json_answer(await metadata.model_config(*_asked(request)))


@get(_of_model("/stats"), opt=gate.ADMIN, include_in_schema=False)
async def model_statistics(request: AnyRequest) -> ASGIResponse:
    """What was run of a model, by version."""
    return json_answer(StatsAnswer(await statistics.statistics(*_asked(request))))


@get("/v2/models/stats", opt=gate.ADMIN, include_in_schema=False)
async def all_statistics(request: AnyRequest) -> ASGIResponse:
    """What was run of all models."""
    found = await statistics.statistics(front_of(request), None, None, request_id(request))
    return json_answer(StatsAnswer(found))


@post(_of_model("/infer"), opt=gate.STEP, status_code=200, include_in_schema=False)
async def infer_model(request: AnyRequest) -> ASGIResponse:
    """Rows in, rows out: of a sequence where the parameters name one, else from fresh state."""
    front, model, version, _ = _asked(request)
    head = dict(request.scope["headers"])
    data = await _body(front, head, request)
    header = binary.header_of(head.get(binary.HEADER.lower().encode()), len(data))
    if header == 0:
        info = (await metadata.versions_of(front, model, version, request_id(request)))[-1]
        wanted = binary.raw(model, version, data, info.manifest.input.dims[0])
    else:
        depth.check(data if header is None else data[:header], front.settings.max_depth)
        wanted = binary.read(model, version, data, header)
    caller = Caller(tenant_of(request), request_id(request), request.receive)
    answer = await infer(front, wanted.request, caller)
    return bodies.answer(head, answer, wanted.binary)


@post("/v2/repository/index", opt=gate.READ, status_code=200, include_in_schema=False)
async def repository_index(request: AnyRequest) -> ASGIResponse:
    """The models that are loaded, and those that could be."""
    wanted = await _repository_body(request)
    found = await repository.index(front_of(request), wanted.ready, request_id(request))
    return json_answer(found)


@post(
    "/v2/repository/models/{model:str}/load",
    opt=gate.ADMIN,
    status_code=200,
    include_in_schema=False,
)
async def load_model(request: AnyRequest) -> ASGIResponse:
    """Load what is new of a model under NTM_MODELS."""
    wanted = await _repository_body(request)
    front, model, _, number = _asked(request)
    await repository.load(front, model, wanted.parameters or {}, number)
    return json_answer({})


@post(
    "/v2/repository/models/{model:str}/unload",
    opt=gate.ADMIN,
    status_code=200,
    include_in_schema=False,
)
async def unload_model(request: AnyRequest) -> ASGIResponse:
    """Serve a model no longer. While it has live sessions only with the parameter force."""
    wanted = await _repository_body(request)
    front, model, _, number = _asked(request)
    await repository.unload(front, model, wanted.parameters or {}, number)
    return json_answer({})


HANDLERS: tuple[Any, ...] = (
    describe_server,
    server_live,
    server_ready,
    describe,
    model_ready,
    configuration,
    model_statistics,
    all_statistics,
    infer_model,
    repository_index,
    load_model,
    unload_model,
)


def _asked(request: AnyRequest) -> tuple[FrontState, str, str | None, str]:
    """The front, the model and version that the path names, and the request's id."""
    named = request.scope["path_params"]
    return front_of(request), named["model"], named.get("version"), request_id(request)


async def _body(front: FrontState, head: body.Head, request: AnyRequest) -> bytes:
    """The body, expanded. No Content-Type says what it is: clients send any."""
    limits = front.settings
    coding = compression.coding_of(head.get(b"content-encoding", b"").decode("latin-1"))
    data = await body.take(head, request.receive, limits.max_body_bytes, limits.request_timeout_s)
    return data if coding is None else compression.expand(data, coding, limits.max_expanded_bytes)


async def _repository_body(request: AnyRequest) -> RepositoryBody:
    front = front_of(request)
    data = await _body(front, dict(request.scope["headers"]), request)
    depth.check(data, front.settings.max_depth)
    return body.decode(REPOSITORY_BODY, data) if data else RepositoryBody()
