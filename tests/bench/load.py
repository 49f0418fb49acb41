"""A closed loop of HTTP clients that step sessions, and keep answers to be checked."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from itertools import cycle, islice
from typing import NamedTuple

import numpy as np

from tests.bench.connection import Connection, connect, post
from tests.bench.reference import Reference

CHECKED_SESSIONS = 64
CHECKED_ANSWERS = 20  # the first of each of them


class Turn(NamedTuple):
    """One stretch of load: each request's latency in milliseconds, and its time in seconds."""

    latencies: list[float]
    seconds: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds


class Load:
    """Clients, each going round its share of the sessions; `begun` makes one.

    steps: requests answered, by session.
    """

    def __init__(
        self,
        url: str,
        clients: int,
        ids: list[str],
        reference: Reference,
        rows: int,
        headers: str = "",
    ) -> None:
        self.ids, self._url, self._reference, self._headers = ids, url, reference, headers
        self.inputs = [reference.inputs(number, rows) for number in range(len(ids))]
        self.steps = [0] * len(ids)
        self._kept: dict[int, list[bytes]] = {
            number: [] for number in range(0, len(ids), max(1, len(ids) // CHECKED_SESSIONS))
        }
        requests = [self.request(number) for number in range(len(ids))]
        self._rounds = [
            cycle(list(enumerate(requests))[number::clients]) for number in range(clients)
        ]

    def request(self, number: int) -> bytes:
        """What session `number` sends every time."""
        path = f"/v1/sessions/{self.ids[number]}/steps"
        return post(path, {"inputs": self.inputs[number]}, self._headers)

    async def round(self) -> Turn:
        """Every session once."""
        return await self._all(time.monotonic() + 600, -(-len(self.ids) // len(self._rounds)))

    async def turn(self, seconds: float) -> Turn:
        """As many requests as are answered in that time, 100,000 a client at most."""
        return await self._all(time.monotonic() + seconds, 100_000)

    async def _all(self, end: float, most: int) -> Turn:
        # New ones each time: a server hangs up on those that rest between two turns.
        connections = [await connect(self._url) for _ in self._rounds]
        begun = time.monotonic()
        parts = await asyncio.gather(
            *(
                self._client(*each, end, most)
                for each in zip(connections, self._rounds, strict=True)
            )
        )
        seconds = time.monotonic() - begun
        for connection in connections:
            connection.close()
        return Turn([latency for part in parts for latency in part], seconds)

    async def _client(
        self, connection: Connection, requests: Iterator[tuple[int, bytes]], end: float, most: int
    ) -> list[float]:
        latencies: list[float] = []
        for session, request in islice(requests, most):
            sent = time.monotonic()
            status, body = await connection.send(request)
            now = time.monotonic()
            latencies.append((now - sent) * 1e3)
            assert status == 200, body
            self.steps[session] += 1
            kept = self._kept.get(session)
            if kept is not None and len(kept) < CHECKED_ANSWERS:
                kept.append(body)
            if now > end:
                break
        return latencies

    @property
    def checked(self) -> int:
        """How many answers `wrong` looks at."""
        return sum(map(len, self._kept.values()))

    def wrong(self) -> int:
        """How many of the kept answers are not the reference's, bit for bit."""
        return sum(self._reference.wrong(self.inputs[n], kept) for n, kept in self._kept.items())


async def begun(
    url: str, reference: Reference, clients: int, sessions: int, rows: int, headers: str = ""
) -> Load:
    """Create the sessions. headers: more of each step's, each ending in a line break."""
    connections = [await connect(url) for _ in range(clients)]
    creation, ids = post(f"/v1/models/{reference.model}/sessions", {}), list[str]()

    async def some(connection: Connection, count: int) -> None:
        for _ in range(count):
            status, body = await connection.send(creation)
            assert status == 201, body
            ids.append(json.loads(body)["id"])

    share, left = divmod(sessions, clients)
    await asyncio.gather(*(some(c, share + (n < left)) for n, c in enumerate(connections)))
    for connection in connections:
        connection.close()
    return Load(url, clients, ids, reference, rows, headers)


def percentiles(latencies: list[float]) -> tuple[float, float]:
    """The median and the 99th percentile."""
    p50, p99 = np.percentile(latencies, [50, 99])
    return float(p50), float(p99)
