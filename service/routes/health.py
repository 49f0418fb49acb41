"""Is the process alive, and can it serve?"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, get
from litestar.response.base import ASGIResponse

from service import gate, openapi
from service.errors import NotReady
from service.front_state import front_of, json_answer, request_id
from service.requests import Health
from service.results import HealthInfo
from service.schemas import Live, Ready

HEALTH = msgspec.msgpack.Decoder(HealthInfo)
TIMEOUT_S = 2.0


@get(
    "/health/live", opt=gate.OPEN, operation_class=openapi.operation("health", Live, guarded=False)
)
async def live() -> ASGIResponse:
    """This front process answers."""
    return json_answer(Live(True))


@get(
    "/health/ready",
    opt=gate.OPEN,
    operation_class=openapi.operation("health", Ready, 503, 504, guarded=False),
)
async def ready(request: Request[Any, Any, Any]) -> ASGIResponse:
    """The engine is there and every model is loaded and warmed; otherwise 503 and the reason."""
    front = front_of(request)
    found = await front.link.call(
        HEALTH, Health(), request_id=request_id(request), timeout_s=TIMEOUT_S
    )
    if not found.ready:
        raise NotReady(found.reason or "the engine is not ready")
    return json_answer(Ready(True))
