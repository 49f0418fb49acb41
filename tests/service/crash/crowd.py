"""Many clients at work on a server, while something is done to it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.service.crash.client import Client
from tests.service.crash.reference import Versions

POLL_S = 0.02


class Crowd:
    """Clients of one server, or of several that are as one."""

    def __init__(self, http: httpx.AsyncClient, versions: Versions, count: int) -> None:
        self.seen: Counter[str] = Counter()
        self._http = http
        self._clients = [Client(number, http, versions, self.seen) for number in range(count)]

    async def live(self, disturbance: Coroutine[Any, Any, None]) -> None:
        """Until the disturbance is over, or a client has found a fault, which is raised."""
        stop = asyncio.Event()
        disturbing = asyncio.create_task(disturbance)
        tasks = [asyncio.create_task(client.live(stop)) for client in self._clients]
        await asyncio.wait([disturbing, *tasks], return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        disturbing.cancel()
        await _all(*tasks, disturbing)

    async def compare(self) -> None:
        """Every session must stand where its client knows it to stand, and there is no other."""
        await _all(*(client.compare() for client in self._clients))
        listed = (await self._http.get("/v1/sessions", params={"limit": 1000})).json()["sessions"]
        paths = {f"/v1/sessions/{one['id']}" for one in listed}
        assert paths == {client.path for client in self._clients}


async def _all(*works: Awaitable[Any]) -> None:
    """Wait for all of them, then raise the first error."""
    for ended in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(ended, BaseException) and not isinstance(ended, asyncio.CancelledError):
            raise ended


@asynccontextmanager
async def crowd(
    url: str, versions: Versions, count: int, transport: httpx.AsyncBaseTransport | None = None
) -> AsyncIterator[Crowd]:
    """Clients of what is at `url`, which may be down now and then."""
    limits = httpx.Limits(max_connections=count, max_keepalive_connections=count)
    async with httpx.AsyncClient(
        base_url=url, limits=limits, timeout=20, transport=transport
    ) as http:
        yield Crowd(http, versions, count)


async def eventually(what: Callable[[], Any], within_s: float) -> None:
    """Poll until `what` gives something true. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not what():
            await asyncio.sleep(POLL_S)
