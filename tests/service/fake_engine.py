"""An engine that answers only when told to: for faults that the real one does not show."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, cast

import msgspec
import uvloop

from service.errors import NtmError
from service.frames import FrameReader, frame_of
from service.messages import Call, Reply

LIMIT_S = 20


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a coroutine test in a loop of its own, within a limit."""

    @functools.wraps(test)
    def run(*arguments: Any, **options: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*arguments, **options), LIMIT_S))

    return run


def in_uvloop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """The same in the loop that servers run in, whose transports raise where asyncio's do not."""

    @functools.wraps(test)
    def run(*arguments: Any, **options: Any) -> None:
        uvloop.run(asyncio.wait_for(test(*arguments, **options), LIMIT_S))

    return run


class FakeEngine(asyncio.Protocol):
    """Listens on a Unix socket, keeps the frames it gets, and sends what a test says."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.frames: list[list[Call]] = []
        self.connections = 0
        self._changed = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> FakeEngine:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: self, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.drop()
        if self._server is not None:
            self._server.close()

    @property
    def calls(self) -> list[Call]:
        """All calls so far."""
        return [call for frame in self.frames for call in frame]

    @property
    def connected(self) -> bool:
        """Is a front here?"""
        return self._transport is not None

    async def until(self, what: Callable[[], bool]) -> None:
        """Wait for a condition that changes with what arrives."""
        while not what():
            self._changed.clear()
            await self._changed.wait()

    async def received(self, count: int) -> list[Call]:
        """The calls, once there are as many."""
        await self.until(lambda: len(self.calls) >= count)
        return self.calls

    def reply(self, number: int, result: Any) -> None:
        """Answer a call."""
        self.send(frame_of([Reply(number, msgspec.Raw(msgspec.msgpack.encode(result)))]))

    def fail(self, number: int, error: NtmError) -> None:
        """Refuse a call."""
        self.send(frame_of([Reply(number, failure=error.to_failure())]))

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        assert self._transport is not None
        self._transport.write(data)

    def drop(self) -> None:
        """Hang up, as a process that dies."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._reader = FrameReader(list[Call])
        self.connections += 1
        self._changed.set()

    def data_received(self, data: bytes) -> None:
        self.frames += self._reader.feed(data)
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._changed.set()
