"""Commands of many callers in few exchanges: what comes while others are on their way goes next.

One exchange costs its system calls, and a commit its fsync, however many share it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from service.store.redis_server import Command

Run = Callable[[Sequence[Command]], Awaitable[list[Any]]]
Caller = tuple[Sequence[Command], "asyncio.Future[list[Any]]"]


class Batches:
    """Over `run`: at most `at_once` exchanges, each of about `limit` commands."""

    def __init__(self, run: Run, at_once: int, limit: int) -> None:
        self._run, self._at_once, self._limit = run, at_once, limit
        self._waiting: deque[Caller] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """The answers to a caller's commands, which stay together. Raises what `run` raises."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Any]] = loop.create_future()
        self._waiting.append((commands, future))
        loop.call_soon(self._start)  # with those that others bring in this turn of the loop
        return await future

    async def close(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self) -> None:
        while self._waiting and len(self._tasks) < self._at_once:
            callers: list[Caller] = []
            size = 0
            while self._waiting and size < self._limit:
                callers.append(self._waiting.popleft())
                size += len(callers[-1][0])
            task = asyncio.ensure_future(self._exchange(callers))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._start()

    async def _exchange(self, callers: Sequence[Caller]) -> None:
        try:
            answers = await self._run([command for commands, _ in callers for command in commands])
        except BaseException as error:
            for _, future in callers:
                if isinstance(error, Exception) and not future.done():
                    future.set_exception(error)
                future.cancel()
            if not isinstance(error, Exception):
                raise
            return
        at = 0
        for commands, future in callers:
            if not future.done():
                future.set_result(answers[at : at + len(commands)])
            at += len(commands)
