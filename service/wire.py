"""The two forms of /v1's bodies and answers: JSON, and MessagePack with tensors as raw float32.

A body comes in the form its `Content-Type` names, an answer goes in the form its `Accept` asks
for, each without regard to the other. Both decode to the same struct, so a request and its repeat
are the same to an Idempotency-Key in whichever form they come.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Generic, TypeVar

import msgspec

from service import body, depth, rows
from service.body import Head
from service.pending import Receive
from service.results import StateTensor
from service.schemas import OutRows, TensorView
from service.settings import Settings

T = TypeVar("T")

MSGPACK_TYPES = (b"application/msgpack", b"application/vnd.msgpack", b"application/x-msgpack")
TYPES = (body.JSON, *MSGPACK_TYPES)


class Form(msgspec.Struct, frozen=True):
    """How an answer is written: its media type, and what rows and tensors become in it."""

    media_type: bytes
    encode: Callable[[Any], bytes]
    rows: Callable[[bytes, tuple[int, int]], OutRows]
    view: Callable[[StateTensor], TensorView]


JSON = Form(body.JSON, msgspec.json.Encoder().encode, rows.unpack, rows.view)
MSGPACK = Form(MSGPACK_TYPES[0], msgspec.msgpack.Encoder().encode, rows.raw, rows.raw_view)


class Reader(Generic[T]):
    """Reads bodies of one type, in either form."""

    def __init__(self, kind: type[T]) -> None:
        self._json = msgspec.json.Decoder(kind)
        self._msgpack = msgspec.msgpack.Decoder(kind)

    async def read(
        self, head: Head, receive: Receive, limits: Settings, default: T | None = None
    ) -> T:
        """A request's body; an empty one is the default, where there is one. Raises NtmError."""
        data = await body.read(
            head,
            receive,
            limits.max_body_bytes,
            limits.request_timeout_s,
            *TYPES,
        )
        return default if default is not None and not data else self.parse(head, data, limits)

    def whole(self, head: Head, data: bytes, limits: Settings) -> T:
        """A request's body that is there already. Raises as `read` does."""
        body.check_type(head, *TYPES)
        body.check_size(data, limits.max_body_bytes)
        return self.parse(head, data, limits)

    def parse(self, head: Head, data: bytes, limits: Settings) -> T:
        """What came in the form that the headers name. Raises NtmError."""
        kind = head.get(b"content-type", body.JSON)
        if kind != body.JSON and kind.split(b";", 1)[0].strip().lower() in MSGPACK_TYPES:
            return self.decode(MSGPACK, data)
        depth.check(data, limits.max_depth)
        return self.decode(JSON, data)

    def decode(self, form: Form, data: bytes) -> T:
        """What came in that form. Raises NtmError."""
        return body.decode(self._msgpack if form is MSGPACK else self._json, data)


def form_of(head: Head) -> Form:
    """The form that `Accept` asks for: MessagePack where it is named and JSON is not preferred."""
    return _preferred(head.get(b"accept", b""))


@lru_cache(256)
def _preferred(accept: bytes) -> Form:
    packed = plain = 0.0
    for part in accept.lower().split(b","):
        kind, *parameters = (text.strip() for text in part.split(b";"))
        weight = next((_weight(text) for text in parameters if text.startswith(b"q=")), 1.0)
        if kind in MSGPACK_TYPES:
            packed = max(packed, weight)
        elif kind == body.JSON:
            plain = max(plain, weight)
    return MSGPACK if packed > plain else JSON


def _weight(parameter: bytes) -> float:
    try:
        return float(parameter[2:])
    except ValueError:
        return 0.0
