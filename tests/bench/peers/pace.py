"""An even pace, whatever the server makes of it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter

from tests.bench.peers.clients import Client

TICK_S = 0.001  # what uvloop's timers can tell apart


class Pace:
    """`rate` requests a second for so long, by whichever connection has been free longest.

    A millisecond's requests leave together. A latency counts from the millisecond in which its
    request was due, so one that found no connection free has waited. What is under way at the end
    is waited for, then `end` is called.
    """

    def __init__(self, rate: float, seconds: float, end: Callable[[], None]) -> None:
        self._rate, self._seconds, self._end = rate, seconds, end
        self._free: deque[Client] = deque()
        self._due: deque[float] = deque()
        self._begun, self._planned, self._count = 0.0, 0, 0
        self._over = False

    def begin(self, connections: list[Client]) -> None:
        """All of them are free."""
        self._free.extend(connections)
        self._count, self._begun = len(connections), perf_counter()
        self._tick()

    def more(self, connection: Client, now: float) -> bool:
        """This one is free again. Never asks the caller to send."""
        if self._due:
            connection.send(self._due.popleft())
        else:
            self._free.append(connection)
            if self._over and len(self._free) == self._count:
                self._end()
        return False

    def _tick(self) -> None:
        now = perf_counter()
        if now - self._begun > self._seconds:
            self._over = True
            if len(self._free) == self._count:
                self._end()
            return
        planned = int((now - self._begun) * self._rate)
        self._due.extend([now] * (planned - self._planned))
        self._planned = planned
        while self._due and self._free:
            self._free.popleft().send(self._due.popleft())
        asyncio.get_running_loop().call_later(TICK_S, self._tick)
