"""What was done to a session, and its whole state as a file to take away or bring back."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, get, put
from litestar.params import QueryParameter
from litestar.response.base import ASGIResponse

from service import body, gate, guards, openapi, state_file, wire
from service.front_state import answer, answer_in, form_of, front_of, request_id, tenant_of
from service.guards import etag
from service.requests import History, Import, Memory
from service.results import HistoryPage, HistoryRecord, Moved, StateResult
from service.routes.paths import session_id
from service.schemas import MAX_INTEGER, HistoryAnswer, HistoryEntry, MovedAnswer

PAGE = msgspec.msgpack.Decoder(HistoryPage)
STATE = msgspec.msgpack.Decoder(StateResult)
MOVED = msgspec.msgpack.Decoder(Moved)

AnyRequest = Request[Any, Any, Any]


@get(
    "/v1/sessions/{session_id:str}/history",
    opt=gate.READ,
    operation_class=openapi.operation("sessions", HistoryAnswer),
)
async def read_history(
    request: AnyRequest,
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
    cursor: Annotated[int, QueryParameter(ge=1, le=MAX_INTEGER)] = MAX_INTEGER,
) -> ASGIResponse:
    """What was done to a session, newest first, as far back as it is kept."""
    before = None if cursor == MAX_INTEGER else cursor
    call = History(tenant_of(request), session_id(request), before, limit)
    page = await front_of(request).link.call(PAGE, call, request_id=request_id(request))
    form = form_of(request)
    entries = [_entry(form, record, page) for record in page.records]
    return answer_in(form, HistoryAnswer(entries, page.before))


@get(
    "/v1/sessions/{session_id:str}/state",
    opt=gate.READ,
    operation_class=openapi.operation("sessions", state_file.MEDIA_TYPE, tells=openapi.ETAG),
)
async def export_state(request: AnyRequest) -> ASGIResponse:
    """The committed state as safetensors, with the fingerprint of its spec in the metadata."""
    call = Memory(tenant_of(request), session_id(request))
    found = await front_of(request).link.call(STATE, call, request_id=request_id(request))
    headers = {"etag": etag(found.incarnation, found.revision)}
    return ASGIResponse(
        body=state_file.write(found), headers=headers, media_type=state_file.MEDIA_TYPE
    )


@put(
    "/v1/sessions/{session_id:str}/state",
    opt=gate.STEP,
    operation_class=openapi.operation(
        "sessions",
        MovedAnswer,
        409,
        takes=state_file.MEDIA_TYPE,
        reads=(openapi.KEY, openapi.MATCH),
        tells=openapi.ETAG,
    ),
)
async def import_state(request: AnyRequest) -> ASGIResponse:
    """Put a state in place that was taken from a session of the same spec, here or elsewhere."""
    front, session = front_of(request), session_id(request)
    head = dict(request.scope["headers"])
    limits = front.settings
    data = await body.read(
        head,
        request.receive,
        limits.max_body_bytes,
        limits.request_timeout_s,
        state_file.MEDIA_TYPE.encode(),
    )
    taken = state_file.read(data)
    guard = guards.of(head, b"PUT", request.scope["path"].encode(), data)
    call = Import(tenant_of(request), session, taken.spec, taken.step, taken.tensors, guard)
    moved = await front.link.call(
        MOVED, call, request_id=request_id(request), receive=request.receive
    )
    headers = {"etag": etag(moved.incarnation, moved.revision)}
    if moved.replayed:
        headers["idempotency-replayed"] = "true"
    return answer(request, MovedAnswer(moved.step, moved.revision, moved.version), headers=headers)


def _entry(form: wire.Form, record: HistoryRecord, page: HistoryPage) -> HistoryEntry:
    if not record.count:
        return HistoryEntry(record.kind, record.step, record.revision)
    return HistoryEntry(
        record.kind,
        record.step,
        record.revision,
        form.rows(record.rows, (record.count, page.input_size)),
        form.rows(record.outputs, (record.count, page.output_size)),
    )
