"""The load generator, the same for every server: as little work a request as can be.

    connection: answer arrives -> its latency is noted -> the next request leaves, in one call

No task and no future a request; the bytes of requests exist before the turn begins. One thread of
this process drives all connections, on uvloop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any, Protocol, cast


class Client(Protocol):
    """A connection of any kind. share: its sessions; session: whose request is under way; sent:
    since when."""

    share: list[int]
    session: int
    sent: float

    async def ready(self) -> None:
        """Until it can send."""
        ...

    def send(self, since: float) -> None:
        """The next session's request, whose latency counts from `since`."""
        ...

    def close(self) -> None:
        """Hang up."""
        ...


class Load(Protocol):
    """Who owns connections and hears what becomes of them."""

    def request(self, session: int) -> bytes:
        """What goes out for this session now."""
        ...

    def answered(self, connection: Client, answer: bytes, now: float) -> None:
        """A whole answer to the connection's request, head and body."""
        ...

    def lost(self, error: Exception) -> None:
        """The server hung up."""
        ...


Connect = Callable[[Load, list[int]], Any]  # makes an asyncio.Protocol that is a Client


class Connection(asyncio.Protocol):
    """One keep-alive HTTP/1.1 connection that goes round its sessions, a request at a time."""

    def __init__(self, load: Load, sessions: list[int]) -> None:
        self._load, self.share = load, sessions
        self._at, self._rest, self._length_field = 0, b"", b""
        self.session, self.sent = sessions[0], 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if self._transport is not None:
            self._load.lost(exc or ConnectionResetError("the server hung up"))

    async def ready(self) -> None:
        """See `Client`."""

    def send(self, since: float) -> None:
        """See `Client`."""
        self.session = self.share[self._at]
        self._at = (self._at + 1) % len(self.share)
        self.sent = since
        assert self._transport is not None
        self._transport.write(self._load.request(self.session))

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._rest:
            data = self._rest + data
        if self._whole(data):
            self._rest = b""
            self._load.answered(self, data, perf_counter())
        else:
            self._rest = data

    def close(self) -> None:
        """See `Client`."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _whole(self, data: bytes) -> bool:
        """Is the answer complete? There is never more than one."""
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return False
        if not self._length_field:  # as this server writes it
            at = data[: end + 2].lower().index(b"\r\ncontent-length:")
            self._length_field = data[at : at + 17]
        at = data.find(self._length_field, 0, end) + 17
        return len(data) >= end + 4 + int(data[at : data.index(b"\r", at)])
