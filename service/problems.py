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
from service.openapi import PROBLEM_TYPE
from service.v2 import errors as v2_errors

log = logging.getLogger("ntm.front")

# What the path should have named, where the answer does not say so itself.
EXPECTED: dict[type[NtmError], tuple[str, str]] = {
    SessionNotFound: ("session_id", "the id of a live session"),
    SessionExpired: ("session_id", "the id of a live session"),
    ModelNotFound: ("model", "the name of a loaded model"),
}


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The answer to a request that met this error."""
    front = front_of(request)
    known = as_known(request, error)
    if isinstance(known, Internal):
        cause = None if isinstance(error, NtmError) else error  # the engine has logged its own
        log.error("request %s failed: %s", _id(request), error, exc_info=cause)
    front.metrics.errors.labels(known.code).inc()
    _name_both(request, known)
    headers = dict(known.headers)
    if v2_errors.concerns(request.scope["path"]):
        text, media_type = v2_errors.body(known), "application/json"
    else:
        text, media_type = known.to_body(_id(request)), PROBLEM_TYPE
    return Response(text, status_code=known.status, media_type=media_type, headers=headers)


def as_known(request: Request[Any, Any, Any], error: Exception) -> NtmError:
    """The error as one of ours."""
    if isinstance(error, NtmError):
        return error
    if isinstance(error, ValidationException):
        return _invalid_parameter(request, error)
    if not isinstance(error, HTTPException):
        return Internal("the server failed; its log has more under this request id")
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
            return Internal("the server failed; its log has more under this request id")


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


def _name_both(request: Request[Any, Any, Any], error: NtmError) -> None:
    """Where the engine did not say what was expected and got, the path's name says it."""
    if "got" not in error.extra and type(error) in EXPECTED:
        parameter, expected = EXPECTED[type(error)]
        got = request.scope["path_params"].get(parameter)
        if got is not None:
            error.extra |= {"expected": expected, "got": got}
            if "expected" not in error.detail:
                error.detail += f": expected {expected}, got {got!r}"


def _id(request: Request[Any, Any, Any]) -> str:
    return request.scope["state"]["request_id"]
