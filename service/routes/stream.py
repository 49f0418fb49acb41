"""What goes on: a session's events for those who watch, and its rows over a WebSocket."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, WebSocket, get, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromQuery
from litestar.response.base import ASGIResponse

from service import gate, openapi, wire
from service.errors import UpgradeRequired
from service.front_state import KEY, FrontState, front_of, identity_of, request_id
from service.keys import Identity
from service.requests import Describe
from service.results import SessionInfo
from service.routes.paths import session_id
from service.stream import events, frames
from service.stream.event_stream import EventStream, Subject
from service.stream.row_stream import RowStream

INFO = msgspec.msgpack.Decoder(SessionInfo)
STREAM = "/v1/sessions/{session_id:str}/stream"


@get(
    "/v1/sessions/{session_id:str}/events",
    opt=gate.READ,
    media_type="text/event-stream",
    operation_class=openapi.operation("streams", openapi.EVENTS, reads=(openapi.LAST_EVENT_ID,)),
)
async def watch_session(
    request: Request[Any, Any, Any], include: FromQuery[str | None] = None
) -> ASGIResponse:
    """What happens to a session, as server-sent events. `Last-Event-ID` goes on where it says."""
    head = dict(request.scope["headers"])
    after = events.position_of(head.get(b"last-event-id", b""))
    subject = Subject(identity_of(request), session_id(request), after, events.included(include))
    return EventStream(front_of(request), subject, request_id(request))


@get(STREAM, opt=gate.OPEN, operation_class=openapi.operation("streams", None, 426, succeeds=False))
async def explain_stream() -> None:
    """Rows in and out over a WebSocket, which this path is for; a plain GET gets 426."""
    raise UpgradeRequired(
        "expected a WebSocket handshake, got a plain request",
        headers={"upgrade": "websocket"},
        expected="a WebSocket handshake",
        got="a plain request",
    )


@websocket(STREAM, opt=gate.STEP)
async def stream_rows(socket: WebSocket[Any, Any, Any]) -> None:
    """Rows in, rows out, many in flight. Raises NtmError, with which the handshake is refused."""
    front: FrontState = socket.app.state[KEY]
    try:
        identity = identity_of(socket)
        with front.streams.opened("websocket", identity.tenant):
            await _stream(front, socket, identity, socket.scope["state"]["request_id"])
    except (WebSocketDisconnect, OSError):
        return  # the client has left


async def _stream(
    front: FrontState, socket: WebSocket[Any, Any, Any], identity: Identity, request_id: str
) -> None:
    """Raises NtmError before the socket is accepted, and only then."""
    call = Describe(identity.tenant, session_id(socket))
    info = await front.link.call(INFO, call, request_id=request_id)
    await socket.accept()
    form = wire.form_of(dict(socket.scope["headers"]))
    first = frames.written(form, info)
    kind = "text" if isinstance(first, str) else "bytes"
    await socket.send({"type": "websocket.send", kind: first})  # pyright: ignore[reportArgumentType]
    close = await RowStream(front, socket, info, identity, request_id).run()
    if close is not None:
        await socket.close(*close)
