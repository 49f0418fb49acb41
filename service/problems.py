"""Every error of the app, Litestar's own too, as problem details (RFC 9457), or as V2 has them."""

from __future__ import annotations

import logging
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from service.errors import (
    BodyTooLarge,
    Internal,
    InvalidRequest,
    MethodNotAllowed,
    ModelNotFound,
    NtmError,
    RouteNotFound,
    SessionExpired,
    SessionNotFound,
)
from service.front_state import front_of
from service.metrics import FrontMetrics
from service.openapi import PROBLEM_TYPE
from service.v2 import errors as v2_errors

FAILED = "the server failed; its log has more under this request id"
MET = "error"  # in a scope's state: what a WebSocket met, which Litestar itself does not tell
CODE = "code"  # the same as the code that its answer has

log = logging.getLogger("ntm.front")

# What the path should have named, where the answer does not say so itself.
EXPECTED: dict[type[NtmError], tuple[str, str]] = {
    SessionNotFound: ("session_id", "the id of a live session"),
    SessionExpired: ("session_id", "the id of a live session"),
    ModelNotFound: ("model", "the name of a loaded model"),
}


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The answer to a request that met this error."""
    known, scope = as_known(request, error), request.scope
    noted(scope, known, error, front_of(request).metrics)
    headers = dict(known.headers)
    text, media_type = _body(known, scope)
    return Response(text, status_code=known.status, media_type=media_type, headers=headers)


def noted(scope: Any, known: NtmError, error: Exception, metrics: FrontMetrics) -> NtmError:
    """The error, counted, and saying what was expected and got. Logged where it is a defect."""
    _note(scope, known, error, metrics)
    _name_both(scope, known)
    return known


async def keep(error: Exception, scope: Any) -> None:
    """Litestar's hook: keeps what a WebSocket met for service/access.py, which answers it."""
    if scope["type"] == "websocket":
        scope["state"][MET] = error


def of_socket(scope: Any, error: Exception | None, metrics: FrontMetrics) -> NtmError:
    """What a WebSocket met, as one of our errors; counted, and logged where it is a defect."""
    known = error if isinstance(error, NtmError) else Internal(FAILED)
    if isinstance(error, HTTPException) and "path_template" not in scope:
        expected, got = "/v1/sessions/{session_id}/stream", scope["path"]
        known = RouteNotFound(
            f"a WebSocket: expected {expected}, got {got!r}", expected=expected, got=got
        )
    _note(scope, known, error, metrics)
    return known


def unexpected(scope: Any, error: Exception, metrics: FrontMetrics) -> NtmError:
    """A defect in what answers errors; counted and logged."""
    known = Internal(FAILED)
    _note(scope, known, error, metrics)
    return known


def messages(error: NtmError, scope: Any, kind: str) -> tuple[Any, Any]:
    """The answer as ASGI's messages of this kind: http.response or websocket.http.response."""
    body, media_type = _body(error, scope)
    named = error.headers | {"content-type": media_type, "content-length": str(len(body))}
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]
    return (
        {"type": f"{kind}.start", "status": error.status, "headers": headers},
        {"type": f"{kind}.body", "body": body, "more_body": False},
    )


def _note(scope: Any, known: NtmError, error: Exception | None, metrics: FrontMetrics) -> None:
    scope["state"][CODE] = known.code
    metrics.errors.labels(known.code).inc()
    if isinstance(known, Internal):
        cause = None if isinstance(error, NtmError) else error  # the engine has logged its own
        log.error("the request failed: %s", error, exc_info=cause, extra=_about(scope))


def _body(error: NtmError, scope: Any) -> tuple[bytes, str]:
    """The error as the protocol of the path has it, and its media type."""
    if v2_errors.concerns(scope["path"]):
        return v2_errors.body(error), "application/json"
    return error.to_body(scope["state"]["request_id"]), PROBLEM_TYPE


def as_known(request: Request[Any, Any, Any], error: Exception) -> NtmError:
    """The error as one of ours."""
    if isinstance(error, NtmError):
        return error
    if isinstance(error, ValidationException):
        return _invalid_parameter(request, error)
    if not isinstance(error, HTTPException):
        return Internal(FAILED)
    method, path = request.scope["method"], request.scope["path"]
    match error.status_code:
        case 404:
            known = "the protocol" if v2_errors.concerns(path) else "/schema"
            expected = f"a path that {known} lists"
            return RouteNotFound(f"expected {expected}, got {path!r}", expected=expected, got=path)
        case 405:
            expected = (error.headers or {}).get("allow", "another method")
            return MethodNotAllowed(
                f"{path}: expected one of {expected}, got {method}",
                headers=error.headers, expected=expected, got=method,
            )  # fmt: skip
        case 413:
            return BodyTooLarge(error.detail)
        case status if 400 <= status < 500:
            return InvalidRequest(error.detail)
        case _:
            return Internal(FAILED)


def _invalid_parameter(
    request: Request[Any, Any, Any], error: ValidationException
) -> InvalidRequest:
    """A query parameter that Litestar's own check refused."""
    first: Any = error.extra[0] if isinstance(error.extra, list) and error.extra else {}
    where = first.get("key", "the request")
    expected = first.get("message", error.detail).removeprefix("Expected ").split(", got", 1)[0]
    expected, got = expected.replace("`", ""), request.query_params.get(where)
    return InvalidRequest(
        f"{where}: expected {expected}, got {got!r}", expected=expected, got=got, where=where
    )


def _name_both(scope: Any, error: NtmError) -> None:
    """Where the engine did not say what was expected and got, the path's name says it."""
    if "got" not in error.extra and type(error) in EXPECTED:
        parameter, expected = EXPECTED[type(error)]
        got = scope["path_params"].get(parameter)
        if got is not None:
            error.extra |= {"expected": expected, "got": got}
            if "expected" not in error.detail:
                error.detail += f": expected {expected}, got {got!r}"


def _about(scope: Any) -> dict[str, str]:
    return {"request_id": scope["state"]["request_id"]}
