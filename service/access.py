"""Around every request: its id, its time, its count. Also where no route matches."""

from __future__ import annotations

import re
import secrets
from itertools import count
from time import perf_counter
from typing import Any

from service.link import Receive
from service.metrics import UNMATCHED, FrontMetrics

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
REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")


class Access:
    """An ASGI app around another that gives each answer its X-Request-Id and counts it."""

    def __init__(self, app: Any, metrics: FrontMetrics) -> None:
        self._app, self._metrics = app, metrics
        self._prefix = secrets.token_hex(6)
        self._numbers = count(1)

    async def __call__(self, scope: Any, receive: Receive, send: Any) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request_id = self._id(scope["headers"])
        scope["state"]["request_id"] = request_id
        header = (b"x-request-id", request_id.encode("ascii"))
        status = 500

        async def tagged(message: Any) -> None:
            nonlocal status
            if message["type"] in STARTS:
                status = message.get("status", SWITCHED)
                message["headers"] = [*message["headers"], header, *SECURITY]
            await send(message)

        begun = perf_counter()
        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, tagged)
        finally:
            self._metrics.in_flight.dec()
            route = scope.get("path_template") or UNMATCHED
            method = scope.get("method", "GET")  # a WebSocket begins with one
            self._metrics.answered(method, route, status, perf_counter() - begun)

    def _id(self, headers: list[tuple[bytes, bytes]]) -> str:
        """The client's id where it is a fit one, else a fresh one."""
        for name, value in headers:
            if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
                return value.decode("ascii")
        return f"{self._prefix}-{next(self._numbers):x}"
