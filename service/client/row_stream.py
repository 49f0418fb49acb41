"""Rows over a WebSocket, blocking. What is sent, sent again and meant is `pipeline.py`'s."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from service.client import pipeline, sockets
from service.client.answers import Stepped
from service.client.backoff import Retries
from service.client.codec import Rows
from service.client.errors import Misuse
from service.client.exchange import Lost, Reply
from service.client.pipeline import Outcome, Pipeline, Refused
from service.client.session_core import SessionCore

if TYPE_CHECKING:
    from service.client.client import Client

PASSED = Lost("the server could not step these rows now")


class RowStream:
    """Sends rows and gives their outputs, in order and each exactly once, across reconnects.

    One thread at a time. Opened by `with`.
    """

    def __init__(
        self,
        client: Client,
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
        self._held = ExitStack()  # closes the socket

    def __enter__(self) -> RowStream:
        self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def waiting(self) -> int:
        """How many answers `receive` still owes."""
        return self._flying.waiting + len(self._outcomes)

    def send(self, rows: Rows, *, trace: bool = False) -> None:
        """Rows (T, X), or one row (X,), as one frame. Waits while the window is full."""
        packed = pipeline.packed(rows)
        while not self._flying.has_room(packed):
            self._outcomes.append(self._next())
        message = self._flying.offer(packed, trace)
        try:
            self._opened().send(message)
        except sockets.failures() as error:
            self._again(sockets.seen(error, self._flying))

    def receive(self) -> Stepped:
        """The answer to the oldest rows that have none yet. Raises what they met."""
        if not self.waiting:
            raise Misuse("receive: every row that was sent is answered")
        outcome = self._outcomes.popleft() if self._outcomes else self._next()
        if isinstance(outcome, Refused):
            raise outcome.error
        return outcome

    def step(self, rows: Rows, *, trace: bool = False) -> Stepped:
        """Rows in, rows out, with nothing else in flight."""
        if self.waiting:
            raise Misuse(f"step: {self.waiting} answers are still to be received")
        self.send(rows, trace=trace)
        return self.receive()

    def run(self, frames: Iterable[Rows], *, trace: bool = False) -> Iterator[Stepped]:
        """Send each of these while there is room, and give the answers in their order."""
        for rows in frames:
            packed = pipeline.packed(rows)
            while not self._flying.has_room(packed):
                yield self.receive()
            self.send(rows, trace=trace)
        while self.waiting:
            yield self.receive()

    def close(self) -> None:
        """Hang up. What has no answer yet may have been stepped: `session.info()` tells."""
        self._socket = None
        self._held.close()

    def _opened(self) -> Any:
        if self._socket is None:
            raise Misuse("the stream is not open: use it in a `with`")
        return self._socket

    def _next(self) -> Outcome:
        while True:
            try:
                message = self._opened().recv(self._timeout_s)
            except sockets.failures() as error:
                self._again(sockets.seen(error, self._flying))
                continue
            outcome = self._flying.take(message)
            if outcome is not None:
                return outcome
            self._again(PASSED)

    def _again(self, answer: Reply | Lost) -> None:
        self.close()
        self._client.sleep(self._flying.pause(answer))
        self._connect()

    def _connect(self) -> None:
        """Until it is connected, and what had no answer is sent again. Raises NtmClientError."""
        from websockets.sync.client import connect

        how = sockets.options(self._call, self._client.tls, self._timeout_s)
        while True:
            try:
                self._socket = self._held.enter_context(connect(self._call.path, **how))
                for message in self._flying.greet(self._socket.recv(self._timeout_s)):
                    self._socket.send(message)
                return
            except sockets.failures() as error:
                answer = sockets.seen(error, self._flying)
            self.close()
            self._client.sleep(self._flying.pause(answer))
