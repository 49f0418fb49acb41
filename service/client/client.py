"""The client that blocks: `Client` and its sessions. What is said and when is `core.py`'s."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, Unpack

import httpx
from numpy.typing import ArrayLike

from service.client import wire
from service.client.answers import Floats, Model, SessionInfo
from service.client.backoff import Retries
from service.client.codec import Rows
from service.client.core import TIMEOUT_S, Core, Options, ReadOptions, configure
from service.client.exchange import Flow, Lost, Reply, Send, Wait
from service.client.session import Session
from service.client.wire import Verify

T = TypeVar("T")


class Client:
    """Calls one server, from any number of threads. Use it in a `with`, or `close()` it.

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
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.core = Core(configure(base_url, api_key, timeout, retries))
        self.tls, self.sleep = wire.tls(verify), sleep
        config = self.core.config
        self.http = httpx.Client(
            base_url=config.url, headers=config.headers, verify=self.tls, transport=transport
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections up. Sessions stay as they are."""
        self.http.close()

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
    ) -> Session:
        """Begin a session, which is deleted at the end of its `with` unless it is to be kept.

        state: initial tensors by name, in place of the model's own.
        """
        info = self.run(self.core.create(model, id, version, idle_ttl_s, state, **options))
        return Session(self, info, keep)

    def open(self, session_id: str, **options: Unpack[ReadOptions]) -> Session:
        """A session that is there. The end of its `with` leaves it there."""
        return Session(self, self.run(self.core.info(session_id, **options)), keep=True)

    def sessions(
        self, model: str | None = None, *, page: int = 100, **options: Unpack[ReadOptions]
    ) -> Iterator[SessionInfo]:
        """All sessions in order of id, or those of a model; asked for a page at a time."""
        cursor: str | None = None
        while True:
            found = self.run(self.core.sessions(model, page, cursor, **options))
            yield from found.sessions
            if (cursor := found.cursor) is None:
                return

    def models(self, **options: Unpack[ReadOptions]) -> list[Model]:
        """Every loaded model."""
        return self.run(self.core.models(**options))

    def model(
        self, name: str, version: str | None = None, **options: Unpack[ReadOptions]
    ) -> dict[str, Any]:
        """A model's manifest: what goes in and out, its state, its training card."""
        return self.run(self.core.model(name, version, **options))

    def predict(
        self, model: str, rows: Rows, version: str | None = None, **options: Unpack[ReadOptions]
    ) -> Floats:
        """Outputs (T, Y) of rows (T, X) from fresh state, which is then forgotten."""
        return self.run(self.core.predict(model, rows, version, **options))

    def tenant(self, **options: Unpack[ReadOptions]) -> dict[str, Any]:
        """Whose key this is, what it may do, and its limits."""
        return self.run(self.core.tenant(**options))

    def ready(self, timeout: float | None = None) -> bool:
        """Is every model loaded? Asked once; False also where nothing answers."""
        return self.run(self.core.ready(timeout))

    def run(self, flow: Flow[T]) -> T:
        """Carry a flow out. Raises NtmClientError."""
        answer: Reply | Lost | None = None
        try:
            while True:
                todo = flow.send(answer)
                answer = self._send(todo) if isinstance(todo, Send) else self._wait(todo)
        except StopIteration as done:
            return done.value

    def _send(self, todo: Send) -> Reply | Lost:
        call = todo.call
        try:
            response = self.http.request(
                call.method, call.path, params=call.query or None, content=call.body or None,
                headers=call.headers, timeout=todo.timeout_s,
            )  # fmt: skip
        except wire.FAILURES as error:
            return wire.lost(error)
        return wire.reply_of(response)

    def _wait(self, todo: Wait) -> None:
        self.sleep(todo.seconds)
