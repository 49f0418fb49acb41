"""What the handlers of one app share, and how they answer."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request
from litestar.response.base import ASGIResponse

from service.link import EngineLink
from service.metrics import FrontMetrics
from service.settings import Settings

KEY = "front"
TENANT = "default"  # everybody, until callers have keys

_ENCODER = msgspec.json.Encoder()


class FrontState(msgspec.Struct, frozen=True):
    """One app's settings, link to the engine and metrics."""

    settings: Settings
    link: EngineLink
    metrics: FrontMetrics


def front_of(request: Request[Any, Any, Any]) -> FrontState:
    """The state of the app that a request came to."""
    return request.app.state[KEY]


def request_id(request: Request[Any, Any, Any]) -> str:
    """The id that the answer and the log lines of a request carry."""
    return request.scope["state"]["request_id"]


def json_answer(
    value: Any, status: int = 200, headers: dict[str, str] | None = None
) -> ASGIResponse:
    """A struct as the JSON of an answer."""
    return ASGIResponse(body=_ENCODER.encode(value), status_code=status, headers=headers)
