"""A request's query: a parameter that the route does not have, or that comes twice, is refused."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from service.errors import InvalidRequest

GIVEN = {"request", "socket", "headers", "state", "scope", "query", "data", "body", "cookies"}


async def check(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Guard of every route under /v1. Raises InvalidRequest for an unknown or repeated parameter.

    Awaited though it waits for nothing: Litestar runs a plain function in a thread.
    """
    text: bytes = connection.scope["query_string"]
    if not text or not connection.scope["path"].startswith("/v1/"):
        return
    names = set(handler.parsed_fn_signature.parameters) - GIVEN - set(connection.path_params)
    seen = set[str]()
    for got, _ in parse_qsl(text.decode("latin-1"), keep_blank_values=True):
        if got in seen:
            raise InvalidRequest(
                f"{got}: expected one value, got more",
                expected="one value", got="more", where=got,
            )  # fmt: skip
        seen.add(got)
        if got not in names:
            expected = f"one of {', '.join(sorted(names))}" if names else "no parameter"
            raise InvalidRequest(
                f"the query: expected {expected}, got {got!r}",
                expected=expected, got=got, where=got,
            )  # fmt: skip
