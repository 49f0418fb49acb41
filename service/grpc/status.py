"""How an error is told over gRPC: a status code, and in its details the code that /v1 gives it."""

from __future__ import annotations

from grpc import StatusCode

from service.errors import NtmError, SessionExists, StateDamaged
from service.v2 import errors

# Details travel in a header, percent-encoded, which clients take up to 8 KiB of.
MAX_DETAILS_BYTES = 2000

BY_STATUS = {
    400: StatusCode.INVALID_ARGUMENT,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    405: StatusCode.UNIMPLEMENTED,
    408: StatusCode.DEADLINE_EXCEEDED,
    409: StatusCode.FAILED_PRECONDITION,
    410: StatusCode.NOT_FOUND,
    412: StatusCode.FAILED_PRECONDITION,
    413: StatusCode.INVALID_ARGUMENT,
    415: StatusCode.INVALID_ARGUMENT,
    422: StatusCode.INVALID_ARGUMENT,
    426: StatusCode.UNIMPLEMENTED,
    429: StatusCode.RESOURCE_EXHAUSTED,
    431: StatusCode.INVALID_ARGUMENT,
    499: StatusCode.CANCELLED,
    500: StatusCode.INTERNAL,
    501: StatusCode.UNIMPLEMENTED,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
}


def status_of(error: NtmError) -> StatusCode:
    """The status code of an error."""
    if isinstance(error, SessionExists):
        return StatusCode.ALREADY_EXISTS
    return StatusCode.DATA_LOSS if isinstance(error, StateDamaged) else BY_STATUS[error.status]


def details_of(error: NtmError) -> str:
    """The status's details, cut to what a client takes."""
    told = errors.text(error).encode("utf-8", "replace")
    if len(told) <= MAX_DETAILS_BYTES:
        return told.decode()
    return told[:MAX_DETAILS_BYTES].decode("utf-8", "ignore") + "..."
