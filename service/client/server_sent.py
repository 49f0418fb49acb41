"""Server-sent events from bytes, as they come (WHATWG HTML, 9.2), and where to go on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from service.client import codec, problems
from service.client.answers import Event
from service.client.errors import BadAnswer, api_error

LAST = frozenset({"expired", "deleted", "ended", "replaced"})
LINE_END = re.compile(rb"\r\n|\n|\r")


class Parser:
    """Bytes of one stream, in whatever pieces. last_id: of the newest event that had one."""

    def __init__(self, last_id: str | None) -> None:
        self.last_id = last_id
        self.retry_s: float | None = None  # the pause that the server asks for
        self._rest = b""
        self._name, self._data, self._id = "", list[str](), last_id

    def begin_anew(self) -> None:
        """Another connection: what was half read is forgotten."""
        self._rest, self._name, self._data, self._id = b"", "", [], self.last_id

    def feed(self, piece: bytes) -> Iterator[tuple[str, str, str | None]]:
        """Name, data and id of the events that this piece completes."""
        text = self._rest + piece
        # A \r at the end may be half of a \r\n.
        whole, held = (text[:-1], text[-1:]) if text.endswith(b"\r") else (text, b"")
        *lines, rest = LINE_END.split(whole)
        self._rest = rest + held
        for line in lines:
            if line:
                self._field(line.decode("utf-8", "replace"))
            elif (event := self._dispatch()) is not None:
                yield event

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._name = value
        elif name == "data":
            self._data.append(value)
        elif name == "id":
            self._id = value
        elif name == "retry" and value.isdecimal():
            self.retry_s = int(value) / 1000

    def _dispatch(self) -> tuple[str, str, str | None] | None:
        name, data, id = self._name, "\n".join(self._data), self._id
        new = id if id != self.last_id else None
        self.last_id, self._name, self._data = id, "", []
        return (name or "message", data, new) if data else None


def event_of(name: str, data: str, id: str | None) -> Event:
    """An event of ours. Raises BadAnswer, and ApiError for the one that says `failed`."""
    try:
        said: Any = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise BadAnswer(f"an event {name!r} that is no JSON: {error}") from None
    if not isinstance(said, dict):
        raise BadAnswer(f"an event {name!r} of {type(said).__name__}")
    if name == "failed":
        raise api_error(problems.from_members(said, int(said.get("status", 500))))
    return Event(name, {key: _value(key, value) for key, value in said.items()}, id)


def _value(key: str, value: Any) -> Any:
    if key in ("inputs", "outputs"):
        return np.array(value, np.float32)
    if key in ("weights", "usage") and value is not None:
        return codec.plain_tensors(value)
    return value
