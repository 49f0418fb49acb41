"""The asyncio client of the engine: one socket, one future a call, one frame a loop turn, but
for a call that is alone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from service.errors import (
    BodyTooLarge,
    ClientGone,
    EngineUnavailable,
    NtmError,
    from_failure,
)
from service.frames import FrameReader, frames_of
from service.messages import Call, Reply
from service.pending import Done, Pending, Receive
from service.requests import Request

if TYPE_CHECKING:
    from service.spans import Tracer

T = TypeVar("T")

GRACE_S = 1.0  # how long after its deadline an answer may still come
SWEEP_S = 0.1  # how often deadlines and clients are looked at
RETRY_MIN_S, RETRY_MAX_S = 0.02, 0.25

log = logging.getLogger("ntm.link")


class EngineLink(asyncio.Protocol):
    """Calls the engine behind a Unix socket, and connects again when it goes away."""

    def __init__(self, path: str, timeout_s: float, tracer: Tracer | None = None) -> None:
        self._path, self.timeout_s, self._tracer = path, timeout_s, tracer
        self._pending: dict[int, Pending] = {}
        self._outbox: list[Call] = []
        self._number = 0
        self._together = 0  # calls in the last frame
        self._transport: asyncio.WriteTransport | None = None
        self._reader = FrameReader(list[Reply])
        self._lost: asyncio.Future[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._sweeping = False

    @property
    def connected(self) -> bool:
        """Is there a connection to the engine now?"""
        return self._transport is not None

    async def open(self) -> None:
        """Start connecting, and stay connected until `close`."""
        self._keeper = asyncio.create_task(self._stay_connected(), name="engine link")

    async def close(self) -> None:
        """Give the connection up. Calls under way fail."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        if self._transport is not None:
            self._transport.close()
            self._drop()

    async def call(
        self,
        result: msgspec.msgpack.Decoder[T],
        request: Request,
        *,
        request_id: str = "",
        receive: Receive | None = None,
        timeout_s: float | None = None,
    ) -> T:
        """The engine's result of a request. Raises the NtmError of its failure, or of ours.

        Where `receive` (ASGI's) tells that the client went away, the engine is told to give up.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        pending = self.submit(
            request, partial(_tell, future), request_id, timeout_s or self.timeout_s, receive
        )
        try:
            raw = await future
        except asyncio.CancelledError:
            self.give_up(pending)
            raise
        finally:
            # An error's traceback holds this frame, and the future holds the error: with the
            # future here too, all that the request brought would stay until it is collected.
            del pending, future
        return result.decode(raw)

    def submit(
        self,
        request: Request,
        done: Done,
        request_id: str = "",
        timeout_s: float | None = None,
        receive: Receive | None = None,
    ) -> Pending:
        """Send a request whose outcome `done` is told once, in a later turn of the loop: the raw
        result or an NtmError. Raises EngineUnavailable."""
        if self._transport is None or self._transport.is_closing():
            raise EngineUnavailable("the engine is away, the request was not run; try again")
        loop, timeout_s = asyncio.get_running_loop(), timeout_s or self.timeout_s
        self._number += 1
        trace = "" if self._tracer is None else self._tracer.current()
        call = Call(self._number, request, timeout_s, request_id=request_id, trace=trace)
        pending = Pending(call, loop.time() + timeout_s + GRACE_S, done, receive)
        alone = not self._pending and self._together < 2
        self._pending[self._number] = pending
        if alone:  # as was the last: others would come with those whose answers come together
            self._outbox.append(call)
            self._flush()
        else:
            self._enqueue(call)
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(SWEEP_S, self._sweep)
        return pending

    def give_up(self, pending: Pending) -> None:
        """Nobody waits for this call any more."""
        number = pending.call.number
        self._pending.pop(number, None)
        pending.unwatch()
        self._enqueue(Call(0, None, cancel=number))

    def _enqueue(self, call: Call) -> None:
        if not self._outbox:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outbox.append(call)

    def _flush(self) -> None:
        """Send what has been gathered, as one frame where it fits."""
        calls, self._outbox = self._outbox, []
        self._together = len(calls) or self._together
        if self._transport is None or self._transport.is_closing() or not calls:
            return
        frames, too_large = frames_of(calls)
        for call in too_large:  # later: its caller may be in `submit` still
            error = BodyTooLarge("the request holds more than one frame can")
            asyncio.get_running_loop().call_soon(self._resolve, call.number, error)
        for call in calls:
            if pending := self._pending.get(call.number):
                pending.sent = True
        for frame in frames:
            self._transport.write(frame)

    def _resolve(self, number: int, outcome: Any) -> None:
        """End a call with a raw result or an error. One that has ended already stays as it is."""
        pending = self._pending.pop(number, None)
        if pending is not None:
            pending.end(outcome)

    def _sweep(self) -> None:
        """Fail calls past their deadline; look whether the clients of slow ones are still there."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for pending in list(self._pending.values()):
            if now >= pending.deadline:
                self._resolve(pending.call.number, pending.late())
                self._enqueue(Call(0, None, cancel=pending.call.number))
            elif pending.receive is not None and pending.watcher is None:
                pending.watcher = loop.create_task(self._watch(pending, pending.receive))
        self._sweeping = bool(self._pending)
        if self._sweeping:
            loop.call_later(SWEEP_S, self._sweep)

    async def _watch(self, pending: Pending, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        pending.watcher = None
        self.give_up(pending)
        pending.end(ClientGone("the client went away"))

    async def _stay_connected(self) -> None:
        loop = asyncio.get_running_loop()
        wait_s = RETRY_MIN_S
        while True:
            self._lost = loop.create_future()
            try:
                await loop.create_unix_connection(lambda: self, self._path)
            except OSError:
                await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
                wait_s = min(2 * wait_s, RETRY_MAX_S)
                continue
            wait_s = RETRY_MIN_S
            log.info("connected to the engine")
            await self._lost
            log.warning("lost the engine; connecting again")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._reader = FrameReader(list[Reply])
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        try:
            for replies in self._reader.feed(data):
                for reply in replies:
                    failure = reply.failure
                    self._resolve(
                        reply.number, reply.result if failure is None else from_failure(failure)
                    )
        except (msgspec.DecodeError, ValueError) as error:
            log.error("the engine sent what is no frame of replies: %s", error)
            if self._transport is not None:
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._drop()
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(None)

    def _drop(self) -> None:
        self._transport = None
        self._outbox.clear()
        for pending in list(self._pending.values()):
            self._resolve(pending.call.number, pending.lost())


def _tell(future: asyncio.Future[Any], outcome: Any) -> None:
    """Give a future the outcome of its call, unless whoever waited for it has gone."""
    if future.done():
        return
    if isinstance(outcome, NtmError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
