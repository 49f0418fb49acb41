"""The names in a path, checked before they reach anything."""

from __future__ import annotations

from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection

from export.bundle import NAME_PATTERN
from service.engine.sessions import ID_PATTERN
from service.errors import ModelNotFound, SessionNotFound


def session_id(request: ASGIConnection[Any, Any, Any, Any]) -> str:
    """The session that the path names. Raises SessionNotFound for what can be no id."""
    name = request.scope["path_params"]["session_id"]
    if not ID_PATTERN.fullmatch(name):
        raise SessionNotFound(f"expected the id of a live session, got {name!r}")
    return name


def model_name(request: Request[Any, Any, Any]) -> str:
    """The model that the path names. Raises ModelNotFound for what can be no name."""
    name = request.scope["path_params"]["model"]
    if not NAME_PATTERN.fullmatch(name):
        raise ModelNotFound(f"expected the name of a loaded model, got {name!r}")
    return name
