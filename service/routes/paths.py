"""The names in a path, checked before they reach anything."""

from __future__ import annotations

from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection

from service import names


def session_id(request: ASGIConnection[Any, Any, Any, Any]) -> str:
    """The session that the path names. Raises SessionNotFound for what can be no id."""
    return names.session(request.scope["path_params"]["session_id"])


def model_name(request: Request[Any, Any, Any]) -> str:
    """The model that the path names. Raises ModelNotFound for what can be no name."""
    return names.model(request.scope["path_params"]["model"])
