"""In Ray's HTTP proxy: the session that a path names, as the header by which Ray hashes.

Ray's ConsistentHashRouter looks at X-Session-Id alone and spreads requests without it. Here a path
that names a session does as well, so a client need not know of Ray. As behind any router, this
saves loading a session twice, and that is all: any replica answers rightly for any session.

RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=ntm_ray.affinity:middlewares, wherever Ray is started
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.middleware import Middleware

HEADER = b"x-session-id"  # Ray's, unless RAY_SERVE_SESSION_ID_HEADER_KEY names another
SPELLINGS = (HEADER, b"x_session_id")  # Ray takes both

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class NameSession:
    """ASGI around Ray's proxy."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A header that the client sent goes first, as in deploy/haproxy."""
        session = session_of(scope.get("path", ""))
        if session and not any(name in SPELLINGS for name, _ in scope["headers"]):
            scope = {**scope, "headers": [*scope["headers"], (HEADER, session.encode())]}
        await self._app(scope, receive, send)


def session_of(path: str) -> str:
    """The id in /v1/sessions/{id} and below it; "" in any other path."""
    parts = path.split("/")
    return parts[3] if parts[1:3] == ["v1", "sessions"] and len(parts) > 3 else ""


def middlewares() -> list[Middleware]:
    """Called by Ray's proxy when it starts."""
    return [Middleware(NameSession)]
