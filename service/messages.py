"""What front and engine say to each other: one msgpack array a message, many messages a frame.

A frame is a 4-byte little-endian length and that many bytes: a msgpack array of `Call`s towards
the engine, of `Reply`s back. A call carries one of service/requests.py, a reply one of
service/results.py.
"""

from __future__ import annotations

from typing import Any

import msgspec

from service.requests import Request


class Call(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One request. `timeout_s` is what is left of its deadline; `cancel` names an earlier call
    whose client has gone, and then `request` is None; `trace` is the W3C traceparent of the span
    that the engine's are children of, empty where NTM_TRACES is 0."""

    number: int
    request: Request | None
    timeout_s: float = 0.0
    cancel: int = 0
    request_id: str = ""
    trace: str = ""


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """An error by its stable code (service/errors.py), with what the answer should tell."""

    code: str
    detail: str
    extra: dict[str, Any] = {}


class Reply(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The one answer to the call of that number: a msgpack-encoded result, or a failure."""

    number: int
    result: msgspec.Raw = msgspec.Raw(b"\xc0")
    failure: Failure | None = None
