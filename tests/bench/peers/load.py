"""Sessions under load: in a closed loop, or at a given pace. One turn is one set of connections."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

import numpy as np

from tests.bench.peers.clients import Client
from tests.bench.peers.pace import Pace
from tests.bench.peers.sessions import Sessions

PATIENCE_S = 120.0  # for what a turn takes beyond its time

More = Callable[[Client, float], bool]


class Turn(NamedTuple):
    """One stretch of load. latencies: of each request, in milliseconds; own_cpu_ms: what this
    process used."""

    latencies: np.ndarray
    seconds: float
    own_cpu_ms: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds


class Load:
    """Connections, each going round its share of the sessions."""

    def __init__(self, sessions: Sessions, address: tuple[str, int], count: int) -> None:
        self.sessions = sessions
        self._address, self._connect = address, sessions.wire.connect
        self._shares = [list(range(n, len(sessions.steps), count)) for n in range(count)]
        self._latencies: list[float] = []
        self._more: More = lambda connection, now: False
        self._left, self._finished = 0, asyncio.Event()
        self._error: Exception | None = None

    def request(self, session: int) -> bytes:
        """What goes out for this session now."""
        return self.sessions.request(session)

    def answered(self, connection: Client, answer: bytes, now: float) -> None:
        """A connection has a whole answer."""
        self._latencies.append(now - connection.sent)
        self.sessions.note(connection.session, answer)
        if self._more(connection, now):
            connection.send(now)

    def lost(self, error: Exception) -> None:
        """The server hung up."""
        self._error = error
        self._end()

    async def round(self) -> Turn:
        """Every session once."""
        due = {id(share): len(share) for share in self._shares}

        def more(connection: Client, now: float) -> bool:
            due[id(connection.share)] -= 1
            return due[id(connection.share)] > 0 or self._one_less()

        return await self._turn(more, self._all_at_once, 0)

    async def closed(self, seconds: float) -> Turn:
        """One request under way a connection, for so long."""
        end = perf_counter() + seconds
        return await self._turn(lambda _, now: now < end or self._one_less(), self._all_at_once, 0)

    async def paced(self, seconds: float, rate: float) -> Turn:
        """So many requests a second; see `Pace`."""
        pace = Pace(rate, seconds, self._end)
        return await self._turn(pace.more, pace.begin, seconds)

    def _all_at_once(self, connections: list[Client]) -> None:
        self._left = len(connections)
        now = perf_counter()
        for connection in connections:
            connection.send(now)

    def _one_less(self) -> bool:
        self._left -= 1
        if not self._left:
            self._end()
        return False

    def _end(self) -> None:
        self._finished.set()

    async def _turn(
        self, more: More, begin: Callable[[list[Client]], None], seconds: float
    ) -> Turn:
        loop = asyncio.get_running_loop()
        self._latencies, self._more, self._finished = [], more, asyncio.Event()
        connections = [
            (await loop.create_connection(lambda s=share: self._connect(self, s), *self._address))[
                1
            ]
            for share in self._shares
        ]
        for connection in connections:
            await connection.ready()
        gc.collect()
        gc.disable()  # a collection would be in some server's latencies
        begun, used = perf_counter(), time.process_time()
        try:
            begin(connections)
            await asyncio.wait_for(self._finished.wait(), seconds + PATIENCE_S)
        finally:
            took, used = perf_counter() - begun, time.process_time() - used
            gc.enable()
            self._finished.set()
            for connection in connections:
                connection.close()
        if self._error is not None:
            raise self._error
        return Turn(np.array(self._latencies) * 1e3, took, used * 1e3)
