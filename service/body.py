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
    InvalidMsgpack,
    InvalidRequest,
    NotFinite,
    UnsupportedMediaType,
)
from service.pending import Receive

T = TypeVar("T")
Head = dict[bytes, bytes]
Decoder = msgspec.json.Decoder[T] | msgspec.msgpack.Decoder[T]

JSON = b"application/json"
FLOAT32 = "a number within ±3.4028235e38"
CLOSE = {"connection": "close"}  # what is left of the body is not wanted

MAX_TOLD = 100  # characters of a value that was sent

_AT_BYTE = re.compile(r"\(byte (\d+)\)")
_NO_NUMBER = re.compile(rb"-?(?:NaN|Inf)[a-z]*", re.IGNORECASE)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_MISMATCH = re.compile(r"Expected (.+), got (.+)")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")


async def read(
    head: Head, receive: Receive, max_bytes: int, timeout_s: float, *kinds: bytes
) -> bytes:
    """The body, of one of these media types, of a request with these headers.

    Raises UnsupportedMediaType, BodyTooLarge before more than `max_bytes` are kept, BodyTimeout,
    and ClientGone.
    """
    check_type(head, *kinds or (JSON,))
    return await take(head, receive, max_bytes, timeout_s)


async def take(head: Head, receive: Receive, max_bytes: int, timeout_s: float) -> bytes:
    """The body as it came, of whatever type. Raises as `read` does, but for the type."""
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


def check_size(body: bytes, max_bytes: int) -> None:
    """Raises BodyTooLarge for a body, which is there already, of more than `max_bytes`."""
    if len(body) > max_bytes:
        raise _too_large(max_bytes, f"{len(body)} bytes")


def check_type(head: Head, *wanted: bytes) -> None:
    """Raises UnsupportedMediaType where the headers name none of these, or a Content-Encoding."""
    kind = head.get(b"content-type", wanted[0])
    if kind not in wanted and kind.split(b";", 1)[0].strip().lower() not in wanted:
        expected = " or ".join(name.decode() for name in wanted[:2])  # not their other spellings
        raise _unsupported("Content-Type", expected, kind)
    coding = head.get(b"content-encoding")
    if coding is not None and coding.strip().lower() != b"identity":
        raise _unsupported("Content-Encoding", "identity", coding)


def _unsupported(header: str, expected: str, value: bytes) -> UnsupportedMediaType:
    got = value.decode("latin-1")
    return UnsupportedMediaType(
        f"{header}: expected {expected}, got {got!r}", expected=expected, got=got, where=header
    )


def _too_large(max_bytes: int, got: str) -> BodyTooLarge:
    expected = f"at most {max_bytes} bytes"
    return BodyTooLarge(f"the body: expected {expected}, got {got}", expected=expected, got=got)


def decode(decoder: Decoder[T], body: bytes) -> T:
    """The body as a `T`. Raises InvalidJson or InvalidMsgpack, NotFinite or InvalidRequest."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(decoder, body, str(error)) from None
    except msgspec.DecodeError as error:
        problem = str(error)
    except UnicodeDecodeError as error:
        problem = f"no UTF-8: {error.reason} (byte {error.start})"
    except RecursionError:
        problem = "nested too deeply"
    binary = isinstance(decoder, msgspec.msgpack.Decoder)
    raise (_no_msgpack if binary else _malformed)(body, problem)


def _invalid(decoder: Decoder[Any], body: bytes, problem: str) -> InvalidRequest:
    what, _, where = problem.partition(" - at ")
    where = where.strip("`") or "$"
    if what.endswith("out of range"):
        got = "a number past float64"
        return NotFinite(
            f"{where}: expected {FLOAT32}, got {got}", expected=FLOAT32, got=got, where=where
        )
    if unknown := _UNKNOWN.fullmatch(what):
        expected = "one of " + ", ".join(_fields(decoder)) if where == "$" else "no such field"
        got = f"the unknown field {unknown[1]!r}"
    elif missing := _MISSING.fullmatch(what):
        expected, got = f"the field {missing[1]!r}", "none"
    elif mismatch := _MISMATCH.fullmatch(what):
        expected, got = mismatch[1].replace("`", ""), mismatch[2].replace("`", "")
    else:
        expected = what.removeprefix("Expected ").replace("`", "")
        got = _told(decoder, body, where)
    return InvalidRequest(
        f"{where}: expected {expected}, got {got}", expected=expected, got=got, where=where
    )


def _told(decoder: Decoder[Any], body: bytes, where: str) -> str:
    """What stands at `where`, such as $.inputs[2]."""
    binary = isinstance(decoder, msgspec.msgpack.Decoder)
    found: Any = (msgspec.msgpack if binary else msgspec.json).decode(body)
    for name, index in _STEP.findall(where):
        kind: type = list if index else dict
        if not isinstance(found, kind):
            return "something else"  # where names all keys, or all values
        found = found[int(index)] if index else found.get(name)
    text = repr(found)
    return text if len(text) <= MAX_TOLD else text[:MAX_TOLD] + "..."


def _fields(decoder: Decoder[Any]) -> tuple[str, ...]:
    return decoder.type.__struct_fields__


def _no_msgpack(body: bytes, problem: str) -> InvalidRequest:
    expected, got = (
        "a MessagePack map",
        f"{len(body)} bytes: {problem}" if body else "an empty body",
    )
    return InvalidMsgpack(f"the body: expected {expected}, got {got}", expected=expected, got=got)


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
    if "truncated" in problem and body.rstrip().endswith(b"}"):
        problem = "malformed, perhaps half a surrogate pair"  # msgspec says so of "\\ud800"
    expected, got = "a JSON object", f"{len(body)} bytes: {problem}" if body else "an empty body"
    return InvalidJson(f"the body: expected {expected}, got {got}", expected=expected, got=got)
