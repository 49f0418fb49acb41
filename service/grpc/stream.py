"""A stream of requests: many under way at a time, answered in the order in which they came."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from grpc import aio

from service.errors import Draining
from service.grpc.calls import Call
from service.stream.streams import Streams

# Requests of one stream that are under way; while there are as many, no more are read, and HTTP/2's
# own window holds the client back. The same where the client does not read its answers.
IN_FLIGHT = 64

Answer = Callable[[Call, bytes], Coroutine[Any, Any, bytes]]

KIND = "grpc"
EOF: Any = vars(aio)["EOF"]  # of another kind than aio's types say


class Stream:
    """One ModelStreamInfer."""

    def __init__(self, answer: Answer, context: Any, streams: Streams) -> None:
        self._answer, self._context, self._streams = answer, context, streams
        self._waiting: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue(IN_FLIGHT)

    async def run(self, call: Call) -> None:
        """Answer until the client sends no more. Raises Draining where the server stops before,
        after the answers to all that was read, and TooManyStreams.

        Each request starts, in order, before the next is read, so those of one sequence reach
        the engine in order. Where the call is cancelled, so is what is under way.
        """
        with self._streams.opened(KIND, call.identity.tenant):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write())
                while (data := await self._read()) not in (None, EOF):
                    await self._waiting.put(group.create_task(self._answer(call, data)))
                await self._waiting.put(None)
        if data is None:
            raise Draining("the server is stopping: what was not answered was not run")

    async def _read(self) -> Any:
        """The next request; EOF where the client has ended, None where the server is to stop."""
        return await self._streams.unless_draining(self._context.read())

    async def _write(self) -> None:
        """Send the answers, in the order of the requests."""
        while (task := await self._waiting.get()) is not None:
            await self._context.write(await task)
