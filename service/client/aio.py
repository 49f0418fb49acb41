"""The client that is awaited: `client.py` once more, over the same `core.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar, Unpack

import httpx
from numpy.typing import ArrayLike

from service.client import wire
from service.client.aio_session import Opening
from service.client.answers import Floats, Model, SessionInfo
from service.client.backoff import Retries
from service.client.codec import Rows
from service.client.core import TIMEOUT_S, Core, Options, ReadOptions, configure
from service.client.exchange import Flow, Lost, Reply, Send, Wait
from service.client.wire import Verify

T = TypeVar("T")


class AsyncClient:
    """Calls one server, from any number of tasks of one event loop. Use it in an `async with`,
    or await `close()`.

    base_url: else NTM_URL, else http://127.0.0.1:8000; api_key: else NTM_API_KEY, else none;
    timeout: seconds a try may take; verify: False, or the file of a CA or an SSLContext to trust;
    transport: where requests go in place of the network. Raises Misuse for what cannot be used.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = TIMEOUT_S,
        retries: Retries | None = None,
        verify: Verify = True,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.core = Core(configure(base_url, api_key, timeout, retries))
        self.tls, self.sleep = wire.tls(verify), sleep
        config = self.core.config
        self.http = httpx.AsyncClient(
            base_url=config.url, headers=config.headers, verify=self.tls, transport=transport
        )

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the connections up. Sessions stay as they are."""
        await self.http.aclose()

    def session(
        self,
        model: str,
        *,
        id: str | None = None,
        version: str | None = None,
        idle_ttl_s: float | None = None,
        state: Mapping[str, ArrayLike] | None = None,
        keep: bool = False,
        **options: Unpack[Options],
    ) -> Opening:
        """Begin a session: `async with client.session(...) as s` deletes it at the end unless it is
        to be kept, `s = await client.session(...)` does not.

        state: initial tensors by name, in place of the model's own.
        """
        flow = self.core.create(model, id, version, idle_ttl_s, state, **options)
        return Opening(self, flow, keep)

    def open(self, session_id: str, **options: Unpack[ReadOptions]) -> Opening:
        """A session that is there: awaited, or in an `async with`, whose end leaves it there."""
        return Opening(self, self.core.info(session_id, **options), keep=True)

    async def sessions(
        self, model: str | None = None, *, page: int = 100, **options: Unpack[ReadOptions]
    ) -> AsyncIterator[SessionInfo]:
        """All sessions in order of id, or those of a model; asked for a page at a time."""
        cursor: str | None = None
        while True:
            found = await self.run(self.core.sessions(model, page, cursor, **options))
            for info in found.sessions:
                yield info
            if (cursor := found.cursor) is None:
                return

    async def models(self, **options: Unpack[ReadOptions]) -> list[Model]:
        """Every loaded model."""
        return await self.run(self.core.models(**options))

    async def model(
        self, name: str, version: str | None = None, **options: Unpack[ReadOptions]
    ) -> dict[str, Any]:
        """A model's manifest: what goes in and out, its state, its training card."""
        return await self.run(self.core.model(name, version, **options))

    async def predict(
        self, model: str, rows: Rows, version: str | None = None, **options: Unpack[ReadOptions]
    ) -> Floats:
        """Outputs (T, Y) of rows (T, X) from fresh state, which is then forgotten."""
        return await self.run(self.core.predict(model, rows, version, **options))

    async def tenant(self, **options: Unpack[ReadOptions]) -> dict[str, Any]:
        """Whose key this is, what it may do, and its limits."""
        return await self.run(self.core.tenant(**options))

    async def ready(self, timeout: float | None = None) -> bool:
        """Is every model loaded? Asked once; False also where nothing answers."""
        return await self.run(self.core.ready(timeout))

    async def run(self, flow: Flow[T]) -> T:
        """Carry a flow out. Raises NtmClientError."""
        answer: Reply | Lost | None = None
        try:
            while True:
                todo = flow.send(answer)
                answer = await self._do(todo)
        except StopIteration as done:
            return done.value

    async def _do(self, todo: Send | Wait) -> Reply | Lost | None:
        if isinstance(todo, Wait):
            return await self.sleep(todo.seconds)
        call = todo.call
        try:
            response = await self.http.request(
                call.method, call.path, params=call.query or None, content=call.body or None,
                headers=call.headers, timeout=todo.timeout_s,
            )  # fmt: skip
        except wire.FAILURES as error:
            return wire.lost(error)
        return wire.reply_of(response)
