"""Sessions: begin, list, describe, step, look inside, end."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, delete, get, post
from litestar.params import FromQuery, QueryParameter
from litestar.response.base import ASGIResponse

from service import gate, guards, names, openapi, rows, steps, wire
from service.front_state import (
    answer,
    answer_in,
    answer_once,
    form_of,
    front_of,
    request_id,
    tenant_of,
)
from service.guards import etag
from service.requests import Create, Delete, Describe, ListSessions, Memory
from service.results import SessionInfo, SessionPage, StateResult
from service.routes.models import find_model
from service.routes.paths import model_name, session_id
from service.schemas import CreateBody, MemoryAnswer, StepsAnswer, StepsBody

CREATE_BODY = wire.Reader(CreateBody)
INFO = msgspec.msgpack.Decoder(SessionInfo)
PAGE = msgspec.msgpack.Decoder(SessionPage)
STATE = msgspec.msgpack.Decoder(StateResult)
NOTHING = msgspec.msgpack.Decoder(None)

AnyRequest = Request[Any, Any, Any]


@post(
    "/v1/models/{model:str}/sessions",
    opt=gate.STEP,
    operation_class=openapi.operation(
        "sessions",
        SessionInfo,
        409,
        410,  # a repeat of one that began what has expired since
        takes=CreateBody,
        required=False,
        reads=(openapi.KEY,),
        tells=openapi.ETAG | openapi.LOCATION,
    ),
)
async def create_session(request: AnyRequest) -> ASGIResponse:
    """Begin a session of a model. An empty body takes the defaults."""
    front, model = front_of(request), model_name(request)
    head = dict(request.scope["headers"])
    wanted = await CREATE_BODY.read(head, request.receive, front.settings, CreateBody())
    names.fresh(wanted.id, "$.id")
    names.version(wanted.version)
    state: dict[str, bytes] | None = None
    if wanted.state:
        info = await find_model(front, request, model, wanted.version)
        state = rows.pack_state(wanted.state, info.manifest.state)
    said = msgspec.msgpack.encode(
        (wanted.id, wanted.version, wanted.idle_ttl_s, state), order="deterministic"
    )
    call = Create(
        tenant_of(request), model, wanted.version, wanted.id, wanted.idle_ttl_s, state,
        guards.of(head, b"POST", request.scope["path"].encode(), said),
    )  # fmt: skip
    info = await front.link.call(
        INFO, call, request_id=request_id(request), receive=request.receive
    )
    headers = _tagged(info) | {"location": f"/v1/sessions/{info.id}"}
    return answer_once(request, info, headers)


@get(
    "/v1/sessions",
    opt=gate.READ,
    operation_class=openapi.operation("sessions", SessionPage),
)
async def list_sessions(
    request: AnyRequest,
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
    cursor: FromQuery[str | None] = None,
    model: FromQuery[str | None] = None,
) -> ASGIResponse:
    """A page of sessions in order of id. The answer's cursor, given back, brings the next page."""
    front = front_of(request)
    call = ListSessions(tenant_of(request), limit, names.cursor(cursor), names.only_model(model))
    return answer(request, await front.link.call(PAGE, call, request_id=request_id(request)))


@get(
    "/v1/sessions/{session_id:str}",
    opt=gate.READ,
    operation_class=openapi.operation("sessions", SessionInfo, tells=openapi.ETAG),
)
async def describe_session(request: AnyRequest) -> ASGIResponse:
    """Where a session stands."""
    call = Describe(tenant_of(request), session_id(request))
    info = await front_of(request).link.call(INFO, call, request_id=request_id(request))
    return answer(request, info, headers=_tagged(info))


@delete(
    "/v1/sessions/{session_id:str}",
    opt=gate.STEP,
    status_code=204,
    operation_class=openapi.operation("sessions", reads=(openapi.MATCH,)),
)
async def end_session(request: AnyRequest) -> None:
    """End a session. Its state is gone."""
    head = dict(request.scope["headers"])
    guard = guards.of(head, b"DELETE", request.scope["path"].encode())
    call = Delete(tenant_of(request), session_id(request), guard)
    await front_of(request).link.call(NOTHING, call, request_id=request_id(request))


@post(
    steps.PATH,
    opt=gate.STEP,
    status_code=200,
    operation_class=openapi.operation(
        "sessions",
        StepsAnswer,
        takes=StepsBody,
        reads=(openapi.KEY, openapi.MATCH, openapi.PRIORITY),
        tells=openapi.ETAG,
    ),
)
async def step_session(request: AnyRequest) -> ASGIResponse:
    """Run rows through a session, one or many: all of them are committed, or none."""
    front, session = front_of(request), session_id(request)
    head = dict(request.scope["headers"])
    wanted = await steps.BODY.read(head, request.receive, front.settings)
    done = await front.link.call(
        steps.RESULT,
        steps.call(front, tenant_of(request), session, head, wanted),
        request_id=request_id(request),
        receive=request.receive,
    )
    return steps.answer(head, done)


@get(
    "/v1/sessions/{session_id:str}/memory",
    opt=gate.READ,
    operation_class=openapi.operation("sessions", MemoryAnswer, tells=openapi.ETAG),
)
async def read_memory(request: AnyRequest) -> ASGIResponse:
    """The committed state of a session: memory, weights, controller, each by name and role."""
    call = Memory(tenant_of(request), session_id(request))
    found = await front_of(request).link.call(STATE, call, request_id=request_id(request))
    form = form_of(request)
    state = [form.view(tensor) for tensor in found.tensors]
    headers = {"etag": etag(found.incarnation, found.revision)}
    return answer_in(form, MemoryAnswer(found.step, found.revision, state), headers=headers)


def _tagged(info: SessionInfo) -> dict[str, str]:
    return {"etag": etag(info.incarnation, info.revision)}
