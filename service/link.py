"""The asyncio client of the engine: one socket, one future a call, one frame a loop turn."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from service.errors import (
    BodyTooLarge,
    ClientGone,
    CommitUnknown,
    DeadlineExceeded,
    EngineUnavailable,
    NtmError,
    from_failure,
)
from service.frames import FrameReader, frames_of
from service.messages import Call, Reply
from service.requests import Request, Sequence

if TYPE_CHECKING:
    from service.spans import Tracer

T = TypeVar("T")
Receive = Callable[[], Awaitable[Any]]  # ASGI's

GRACE_S = 1.0  # how long after its deadline an answer may still come
SWEEP_S = 0.1  # how often deadlines and clients are looked at
RETRY_MIN_S, RETRY_MAX_S = 0.02, 0.25

log = logging.getLogger("ntm.link")


class Pending:
    """A call whose answer is awaited."""

    __slots__ = ("call", "deadline", "future", "receive", "sent", "watcher")

    def __init__(
        self, call: Call, deadline: float, future: asyncio.Future[Any], receive: Receive | None
    ) -> None:
        self.call, self.deadline, self.future, self.receive = call, deadline, future, receive
        self.sent = False
        self.watcher: asyncio.Task[None] | None = None

    @property
    def _mutates(self) -> bool:
        request = self.call.request
        return isinstance(request, Sequence) or hasattr(request, "guard")

    def unwatch(self) -> None:
        """Nobody needs to know any more whether the client is there."""
        watcher, self.watcher = self.watcher, None  # a task that was cancelled holds its frame
        if watcher is not None:
            watcher.cancel()

    def lost(self) -> NtmError:
        """What the caller is told when no answer can come any more."""
        if self.sent and self._mutates:
            return CommitUnknown(
                "the engine went away while it had the request: repeat it with the same"
                " Idempotency-Key, or read the session's revision"
            )
        return EngineUnavailable("the engine is away, the request was not run; try again")

    def late(self) -> NtmError:
        """What the caller is told when the answer did not come in time."""
        if self.sent and self._mutates:
            return CommitUnknown("the engine did not say in time whether the request took effect")
        return DeadlineExceeded(f"no answer within {self.call.timeout_s:g} s")


class EngineLink(asyncio.Protocol):
    """Calls the engine behind a Unix socket, and connects again when it goes away."""

    def __init__(self, path: str, timeout_s: float, tracer: Tracer | None = None) -> None:
        self._path, self.timeout_s, self._tracer = path, timeout_s, tracer
        self._pending: dict[int, Pending] = {}
        self._outbox: list[Call] = []
        self._number = 0
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
        if self._transport is None:
            raise EngineUnavailable("the engine is away, the request was not run; try again")
        pending = self._submit(request, request_id, receive, timeout_s or self.timeout_s)
        try:
            raw = await pending.future
        except asyncio.CancelledError:
            self._give_up(pending)
            raise
        finally:
            # An error's traceback holds this frame, and the future holds the error: with the
            # future here too, all that the request brought would stay until it is collected.
            del pending
        return result.decode(raw)

    def _submit(
        self, request: Request, request_id: str, receive: Receive | None, timeout_s: float
    ) -> Pending:
        loop = asyncio.get_running_loop()
        self._number += 1
        trace = "" if self._tracer is None else self._tracer.current()
        call = Call(self._number, request, timeout_s, request_id=request_id, trace=trace)
        pending = Pending(call, loop.time() + timeout_s + GRACE_S, loop.create_future(), receive)
        self._pending[self._number] = pending
        self._enqueue(call)
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(SWEEP_S, self._sweep)
        return pending

    def _enqueue(self, call: Call) -> None:
        if not self._outbox:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outbox.append(call)

    def _flush(self) -> None:
        """Send what one turn of the loop has gathered, as one frame where it fits."""
        calls, self._outbox = self._outbox, []
        if self._transport is None or not calls:
            return
        frames, too_large = frames_of(calls)
        for call in too_large:
            self._resolve(call.number, BodyTooLarge("the request holds more than one frame can"))
        for call in calls:
            if pending := self._pending.get(call.number):
                pending.sent = True
        for frame in frames:
            self._transport.write(frame)

    def _resolve(self, number: int, outcome: Any) -> None:
        """End a call with a raw result or an error. One that has ended already stays as it is."""
        pending = self._pending.pop(number, None)
        if pending is None:
            return
        pending.unwatch()
        if pending.future.done():
            return
        if isinstance(outcome, NtmError):
            pending.future.set_exception(outcome)
        else:
            pending.future.set_result(outcome)

    def _give_up(self, pending: Pending) -> None:
        """Nobody waits for this call any more."""
        number = pending.call.number
        self._pending.pop(number, None)
        pending.unwatch()
        self._enqueue(Call(0, None, cancel=number))

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
        self._give_up(pending)
        if not pending.future.done():
            pending.future.set_exception(ClientGone("the client went away"))

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
