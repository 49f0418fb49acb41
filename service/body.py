"""A request's body: read within its limits, then decoded, each refusal saying what was wrong."""

from __future__ import annotations

import asyncio
import re
from typing import Any, TypeVar

import msgspec

from service.errors import (
    BodyTimeout,
    BodyTooLarge,
    ClientGone,
    InvalidJson,
    InvalidRequest,
    NotFinite,
    UnsupportedMediaType,
)
from service.link import Receive

T = TypeVar("T")
Head = dict[bytes, bytes]

JSON = b"application/json"
FLOAT32 = "a number within ±3.4028235e38"
CLOSE = {"connection": "close"}  # what is left of the body is not wanted

_AT_BYTE = re.compile(r"\(byte (\d+)\)")
_NO_NUMBER = re.compile(rb"-?(?:NaN|Inf)[a-z]*", re.IGNORECASE)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_MISMATCH = re.compile(r"Expected (.+), got (.+)")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")


async def read(
    head: Head, receive: Receive, max_bytes: int, timeout_s: float, kind: bytes = JSON
) -> bytes:
    """The body, of a media type, of a request with these headers.

    Raises UnsupportedMediaType, BodyTooLarge before more than `max_bytes` are kept, BodyTimeout,
    and ClientGone.
    """
    _check_type(head, kind)
    announced = int(head.get(b"content-length", b"0"))
    if announced > max_bytes:
        raise _too_large(max_bytes, f"{announced} bytes")
    try:
        async with asyncio.timeout(timeout_s):
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body"):
                body = message.get("body", b"")
                if len(body) <= max_bytes:
                    return body
            return await _read_on(message, receive, max_bytes)
    except TimeoutError:
        raise BodyTimeout(
            f"expected the whole body within {timeout_s:g} s", headers=CLOSE
        ) from None


async def _read_on(message: Any, receive: Receive, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] != "http.request":
            raise ClientGone("the client went away before its body was complete")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > max_bytes:
            raise _too_large(max_bytes, "more")
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()


def _check_type(head: Head, wanted: bytes) -> None:
    kind = head.get(b"content-type", wanted)
    if kind != wanted and kind.split(b";", 1)[0].strip().lower() != wanted:
        raise _unsupported("Content-Type", wanted.decode(), kind)
    coding = head.get(b"content-encoding", b"identity")
    if coding.strip().lower() != b"identity":
        raise _unsupported("Content-Encoding", "identity", coding)


def _unsupported(header: str, expected: str, value: bytes) -> UnsupportedMediaType:
    got = value.decode("latin-1")
    return UnsupportedMediaType(
        f"{header}: expected {expected}, got {got!r}", expected=expected, got=got, where=header
    )


def _too_large(max_bytes: int, got: str) -> BodyTooLarge:
    expected = f"at most {max_bytes} bytes"
    return BodyTooLarge(
        f"the body: expected {expected}, got {got}", headers=CLOSE, expected=expected, got=got
    )


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """The body as a `T`. Raises InvalidJson, NotFinite or InvalidRequest."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(decoder, str(error)) from None
    except msgspec.DecodeError as error:
        raise _malformed(body, str(error)) from None
    except UnicodeDecodeError as error:
        raise _malformed(body, f"no UTF-8: {error.reason} (byte {error.start})") from None
    except RecursionError:
        raise _malformed(body, "nested too deeply") from None


def _invalid(decoder: msgspec.json.Decoder[Any], problem: str) -> InvalidRequest:
    what, _, where = problem.partition(" - at ")
    where = where.strip("`") or "$"
    if what.endswith("out of range"):
        got = "a number past float64"
        return NotFinite(
            f"{where}: expected {FLOAT32}, got {got}", expected=FLOAT32, got=got, where=where
        )
    if unknown := _UNKNOWN.fullmatch(what):
        expected = "one of " + ", ".join(_fields(decoder))
        got = f"the unknown field {unknown[1]!r}"
    elif missing := _MISSING.fullmatch(what):
        expected, got = f"the field {missing[1]!r}", "none"
    elif mismatch := _MISMATCH.fullmatch(what):
        expected, got = mismatch[1].replace("`", ""), mismatch[2].replace("`", "")
    else:
        expected, got = what.removeprefix("Expected ").replace("`", ""), "something else"
    return InvalidRequest(
        f"{where}: expected {expected}, got {got}", expected=expected, got=got, where=where
    )


def _fields(decoder: msgspec.json.Decoder[Any]) -> tuple[str, ...]:
    return decoder.type.__struct_fields__


def _malformed(body: bytes, problem: str) -> InvalidRequest:
    if at := _AT_BYTE.search(problem):
        start = int(at[1])
        start -= body[start - 1 : start] == b"-"
        if odd := _NO_NUMBER.match(body, start):
            where, got = f"byte {start}", odd[0].decode("ascii")
            return NotFinite(
                f"{where}: expected {FLOAT32}, got {got}, which JSON does not have",
                expected=FLOAT32, got=got, where=where,
            )  # fmt: skip
    expected, got = "a JSON object", f"{len(body)} bytes: {problem}" if body else "an empty body"
    return InvalidJson(f"the body: expected {expected}, got {got}", expected=expected, got=got)
