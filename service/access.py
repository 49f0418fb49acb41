"""Around every request: its id, its time, its count. Also where no route matches."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from service import access_log, problems, request_ids
from service.access_log import Served
from service.front_state import FrontState
from service.metrics import UNMATCHED, FrontMetrics
from service.pending import Receive

if TYPE_CHECKING:
    from service.spans import Tracer

# What a browser is told of every answer: not to guess, keep, frame or run any of it.
SECURITY = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
     b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)  # fmt: skip
STARTS = ("http.response.start", "websocket.accept", "websocket.http.response.start")
SWITCHED = 101  # what an accepted WebSocket is counted as
FAILED = 1011  # a WebSocket's close code
ID_HEADER = request_ids.HEADER.encode()


class Outgoing:
    """ASGI's `send` of one request: puts the id into the head of its answer, and counts.

    status: 0 until an answer has begun; size: bytes of its body, or of its frames.
    """

    __slots__ = ("_header", "_metrics", "_scope", "_send", "size", "status")

    def __init__(self, scope: Any, send: Any, request_id: str, metrics: FrontMetrics) -> None:
        self._scope, self._send, self._metrics = scope, send, metrics
        self._header = (ID_HEADER, request_id.encode("ascii"))
        self.status = self.size = 0

    async def __call__(self, message: Any) -> None:
        """See ASGI."""
        kind = message["type"]
        if kind in STARTS:
            self.status = message.get("status", SWITCHED)
            own = {name for name, _ in message["headers"]}  # the explorer says two itself
            told = (pair for pair in SECURITY if pair[0] not in own)
            message["headers"] = [*message["headers"], self._header, *told]
        elif kind == "websocket.close" and (not self.status or self._error is not None):
            await self._refuse()
            return
        else:
            said = message.get("body") or message.get("bytes") or message.get("text") or b""
            self.size += len(said)
        await self._send(message)

    @property
    def _error(self) -> Exception | None:
        return self._scope["state"].get(problems.MET)

    async def _refuse(self) -> None:
        """Say why a WebSocket is not opened, which would be a bare 403, or goes no further."""
        known = problems.of_socket(self._scope, self._error, self._metrics)
        if self.status:
            await self._send({"type": "websocket.close", "code": FAILED, "reason": known.code})
            return
        for message in problems.messages(known, self._scope, "websocket.http.response"):
            await self(message)


class Access:
    """An ASGI app around another that gives each answer its X-Request-Id and counts it."""

    def __init__(self, app: Any, front: FrontState) -> None:
        self._app, self._metrics, self._ids = app, front.metrics, front.ids
        self._tracer, self._logs = front.tracer, front.settings.access_log

    async def __call__(self, scope: Any, receive: Receive, send: Any) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request_id = self._id(scope["headers"])
        scope["state"]["request_id"] = request_id
        request_ids.current.set(request_id)  # uvicorn runs each request in a task of its own
        outgoing, begun = Outgoing(scope, send, request_id, self._metrics), perf_counter()
        self._metrics.in_flight += 1
        try:
            if self._tracer is None:
                await self._app(scope, receive, outgoing)
            else:
                await self._traced(self._tracer, scope, receive, outgoing)
        except Exception as error:
            await self._failed(scope, outgoing, error)
        finally:
            self._metrics.in_flight -= 1
            self._count(scope, outgoing, perf_counter() - begun)

    async def _traced(
        self, tracer: Tracer, scope: Any, receive: Receive, outgoing: Outgoing
    ) -> None:
        with tracer.request(scope) as span:
            try:
                await self._app(scope, receive, outgoing)
            finally:
                tracer.answered(span, scope, outgoing.status or 500)

    async def _failed(self, scope: Any, outgoing: Outgoing, error: Exception) -> None:
        """Not even the handler of errors could answer: raises it again once an answer has begun."""
        if outgoing.status or scope["type"] != "http":
            raise error
        known = problems.unexpected(scope, error, self._metrics)
        for message in problems.messages(known, scope, "http.response"):
            await outgoing(message)

    def _id(self, headers: list[tuple[bytes, bytes]]) -> str:
        for name, value in headers:
            if name == ID_HEADER:
                return self._ids.fit(value)
        return self._ids.drawn()

    def _count(self, scope: Any, outgoing: Outgoing, seconds: float) -> None:
        route = scope.get("path_template") or UNMATCHED
        method = scope.get("method", "GET")  # a WebSocket begins with one
        status = outgoing.status or 500
        self._metrics.answered(method, route, status, seconds)
        if self._logs:
            state, protocol = scope["state"], scope["type"]
            code = state.get(problems.CODE, "")
            served = (method, route, str(status), seconds, outgoing.size, code)
            access_log.tell(Served(state["request_id"], protocol, *served))
