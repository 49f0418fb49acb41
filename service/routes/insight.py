"""What a network did in the rows that a session keeps, as tensors and explained."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from litestar import Request, get
from litestar.params import FromQuery, QueryParameter
from litestar.response.base import ASGIResponse

from service import gate, names, openapi
from service.front_state import answer, answer_in, form_of, front_of, request_id, tenant_of
from service.insight.explain import explain
from service.insight.explained import Explained
from service.requests import Trace
from service.results import TraceResult
from service.routes.paths import session_id
from service.schemas import MAX_INTEGER, TraceAnswer

RESULT = msgspec.msgpack.Decoder(TraceResult)

AnyRequest = Request[Any, Any, Any]
# Litestar reads no optional numbers from a query; what is past every session stands for none.
Revision = Annotated[int, QueryParameter(ge=1, le=MAX_INTEGER)]
Step = Annotated[int, QueryParameter(ge=1, le=MAX_INTEGER)]
Rows = Annotated[int, QueryParameter(ge=1, le=1024)]


@get(
    "/v1/sessions/{session_id:str}/trace",
    opt=gate.READ,
    operation_class=openapi.operation("sessions", TraceAnswer),
)
async def read_trace(
    request: AnyRequest,
    revision: Revision = MAX_INTEGER,
    step: Step = MAX_INTEGER,
    rows: Rows = 64,
    roles: FromQuery[str | None] = None,
) -> ASGIResponse:
    """What the network did in kept rows: its states, and what its heads emitted."""
    found = await _found(request, revision, step, rows, names.roles(roles))
    form = form_of(request)
    shown = [[form.view(tensor) for tensor in part] for part in (found.state, found.trace)]
    told = (found.version, found.step, found.revisions)
    rows_told = (form.view(found.inputs), form.view(found.outputs))
    return answer_in(form, TraceAnswer(found.incarnation, *told, *rows_told, *shown))


@get(
    "/v1/sessions/{session_id:str}/explain",
    opt=gate.READ,
    operation_class=openapi.operation("sessions", Explained),
)
async def explain_session(
    request: AnyRequest,
    revision: Revision = MAX_INTEGER,
    step: Step = MAX_INTEGER,
    rows: Rows = 64,
) -> ASGIResponse:
    """Where each head looked in kept rows and why, what it wrote, and how old is what it read."""
    found = await _found(request, revision, step, rows, ())
    return answer(request, await asyncio.to_thread(explain, found))


async def _found(
    request: AnyRequest, revision: int, step: int, rows: int, roles: tuple[str, ...]
) -> TraceResult:
    call = Trace(tenant_of(request), session_id(request), _said(revision), _said(step), rows, roles)
    return await front_of(request).link.call(
        RESULT, call, request_id=request_id(request), receive=request.receive
    )


def _said(value: int) -> int | None:
    return None if value == MAX_INTEGER else value
