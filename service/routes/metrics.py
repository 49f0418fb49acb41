"""The Prometheus exposition of every front and of the engine."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, get
from litestar.response.base import ASGIResponse

from service import gate
from service.errors import NtmError
from service.front_state import front_of, request_id
from service.metrics import CONTENT_TYPE
from service.requests import Metrics

TEXT = msgspec.msgpack.Decoder(bytes)
TIMEOUT_S = 2.0


@get("/metrics", opt=gate.ADMIN, include_in_schema=False)
async def metrics(request: Request[Any, Any, Any]) -> ASGIResponse:
    """The fronts' samples, then the engine's. Without an engine: the fronts' alone."""
    front = front_of(request)
    try:
        engine = await front.link.call(
            TEXT, Metrics(), request_id=request_id(request), timeout_s=TIMEOUT_S
        )
    except NtmError:
        engine = b""
    return ASGIResponse(body=front.metrics.text() + engine, media_type=CONTENT_TYPE)
