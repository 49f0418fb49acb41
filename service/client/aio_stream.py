"""Rows over a WebSocket, awaited: `row_stream.py` once more, with the same pipeline."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any

from service.client import pipeline, sockets
from service.client.answers import Stepped
from service.client.backoff import Retries
from service.client.codec import Rows
from service.client.errors import Misuse
from service.client.exchange import Lost, Reply
from service.client.pipeline import Outcome, Pipeline, Refused
from service.client.row_stream import PASSED
from service.client.session_core import SessionCore

if TYPE_CHECKING:
    from service.client.aio import AsyncClient


class AsyncRowStream:
    """Sends rows and gives their outputs, in order and each exactly once, across reconnects.

    One task at a time. Opened by `async with`.
    """

    def __init__(
        self,
        client: AsyncClient,
        session: SessionCore,
        window: int,
        timeout: float | None,
        retries: Retries | None,
    ) -> None:
        self._client = client
        self._flying = Pipeline(client.core, session, window, retries)
        self._call = pipeline.stream_call(client.core, session.id)
        self._timeout_s = timeout or client.core.config.timeout_s
        self._outcomes: deque[Outcome] = deque()
        self._socket: Any = None

    async def __aenter__(self) -> AsyncRowStream:
        await self._connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def waiting(self) -> int:
        """How many answers `receive` still owes."""
        return self._flying.waiting + len(self._outcomes)

    async def send(self, rows: Rows, *, trace: bool = False) -> None:
        """Rows (T, X), or one row (X,), as one frame. Waits while the window is full."""
        packed = pipeline.packed(rows)
        while not self._flying.has_room(packed):
            self._outcomes.append(await self._next())
        message = self._flying.offer(packed, trace)
        try:
            await self._opened().send(message)
        except sockets.failures() as error:
            await self._again(sockets.seen(error, self._flying))

    async def receive(self) -> Stepped:
        """The answer to the oldest rows that have none yet. Raises what they met."""
        if not self.waiting:
            raise Misuse("receive: every row that was sent is answered")
        outcome = self._outcomes.popleft() if self._outcomes else await self._next()
        if isinstance(outcome, Refused):
            raise outcome.error
        return outcome

    async def step(self, rows: Rows, *, trace: bool = False) -> Stepped:
        """Rows in, rows out, with nothing else in flight."""
        if self.waiting:
            raise Misuse(f"step: {self.waiting} answers are still to be received")
        await self.send(rows, trace=trace)
        return await self.receive()

    async def run(self, frames: Iterable[Rows], *, trace: bool = False) -> AsyncIterator[Stepped]:
        """Send each of these while there is room, and give the answers in their order."""
        for rows in frames:
            packed = pipeline.packed(rows)
            while not self._flying.has_room(packed):
                yield await self.receive()
            await self.send(rows, trace=trace)
        while self.waiting:
            yield await self.receive()

    async def close(self) -> None:
        """Hang up. What has no answer yet may have been stepped: `session.info()` tells."""
        if self._socket is not None:
            await self._socket.close()
            self._socket = None

    def _opened(self) -> Any:
        if self._socket is None:
            raise Misuse("the stream is not open: use it in an `async with`")
        return self._socket

    async def _next(self) -> Outcome:
        while True:
            try:
                message = await self._receive()
            except sockets.failures() as error:
                await self._again(sockets.seen(error, self._flying))
                continue
            outcome = self._flying.take(message)
            if outcome is not None:
                return outcome
            await self._again(PASSED)

    async def _receive(self) -> str | bytes:
        async with asyncio.timeout(self._timeout_s):
            return await self._opened().recv()

    async def _again(self, answer: Reply | Lost) -> None:
        await self.close()
        await self._client.sleep(self._flying.pause(answer))
        await self._connect()

    async def _connect(self) -> None:
        """Until it is connected, and what had no answer is sent again. Raises NtmClientError."""
        from websockets.asyncio.client import connect

        how = sockets.options(self._call, self._client.tls, self._timeout_s)
        while True:
            try:
                self._socket = await connect(self._call.path, **how)
                for message in self._flying.greet(await self._receive()):
                    await self._socket.send(message)
                return
            except sockets.failures() as error:
                answer = sockets.seen(error, self._flying)
            await self.close()
            await self._client.sleep(self._flying.pause(answer))
