"""The engine's process: a Unix socket for the fronts, and one event loop for everything.

python -m service.engine.process        (started by service/supervisor.py)
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import msgspec
from prometheus_client import disable_created_metrics

from export.bundle import BundleError
from service import lifeline, logs, request_ids, tracing
from service.engine import catalog, upkeep
from service.engine.engine import Engine
from service.engine.host import Host
from service.engine.job import Job
from service.engine.metrics import EngineMetrics
from service.engine.models import load_hosts
from service.engine.runtime import BackendError
from service.errors import BundleChanged, Internal, NtmError
from service.frames import FrameReader, frames_of
from service.messages import Call, Reply
from service.settings import Settings
from service.store.open import open_store
from service.store.store import StoreUnavailable

if TYPE_CHECKING:
    from service.engine.phases import StepTracer

log = logging.getLogger("ntm.engine")
COLLECTED_AFTER = 50_000  # the young alone, of which most are gone by then
ENCODER = msgspec.msgpack.Encoder()
APART = contextlib.nullcontext()


class FrontTicket:
    """One call of one front, and the way back to it."""

    __slots__ = ("_front", "job", "number", "request_id", "trace")

    def __init__(self, front: FrontConnection, call: Call) -> None:
        self._front: FrontConnection | None = front
        self.number, self.request_id, self.trace = call.number, call.request_id, call.trace
        self.job: Job | None = None

    def reply(self, result: Any) -> None:
        """See `Ticket`."""
        self._answer(Reply(self.number, msgspec.Raw(ENCODER.encode(result))))

    def fail(self, error: NtmError) -> None:
        """See `Ticket`."""
        self._answer(Reply(self.number, failure=error.to_failure()))

    def _answer(self, reply: Reply) -> None:
        front, self._front = self._front, None
        if front is not None:
            front.answer(reply)


class FrontConnection(asyncio.Protocol):
    """One front. Replies of one turn of the loop leave as one frame."""

    def __init__(self, engine: Engine, fronts: set[FrontConnection]) -> None:
        self._engine, self._fronts = engine, fronts
        self._reader = FrameReader(list[Call])
        self._tickets: dict[int, FrontTicket] = {}
        self._outbox: list[Reply] = []
        self._reading = False  # calls that came together are being begun
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = transport  # pyright: ignore[reportAttributeAccessIssue]
        self._fronts.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The front is gone, and with it everybody it spoke for."""
        self._transport = None
        self._fronts.discard(self)
        for ticket in list(self._tickets.values()):
            self._engine.cancel(ticket)
        self._tickets.clear()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._reading = True
        # Of several fronts each has calls of the same moment: those share a tick in the next turn.
        with self._engine.together if len(self._fronts) == 1 else APART:
            for call in self._calls(data):
                self._begin(call)
            self._reading = False
        self._flush()  # what was answered at once, while others of these go on

    def _calls(self, data: bytes) -> list[Call]:
        """Those that are whole now. What is no frame of calls ends the connection."""
        calls: list[Call] = []
        try:
            for some in self._reader.feed(data):
                calls += some
        except (ValueError, msgspec.DecodeError):
            log.exception("a front sent what is no frame of calls")
            if self._transport is not None:
                self._transport.close()
        return calls

    def close(self) -> None:
        """Send what is left to send, then close."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def answer(self, reply: Reply) -> None:
        """Send a reply with the others of this turn; at once where no other can come."""
        self._tickets.pop(reply.number, None)
        self._outbox.append(reply)
        if self._reading:
            return
        if not self._tickets:
            self._flush()
        elif len(self._outbox) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _begin(self, call: Call) -> None:
        if call.cancel:
            gone = self._tickets.get(call.cancel)
            if gone is not None:
                self._engine.cancel(gone)
            return
        ticket = FrontTicket(self, call)
        self._tickets[call.number] = ticket
        request_ids.current.set(call.request_id)
        self._engine.handle(call, ticket)
        request_ids.current.set("")

    def _flush(self) -> None:
        replies, self._outbox = self._outbox, []
        if self._transport is None or self._transport.is_closing() or not replies:
            return
        frames, too_long = frames_of(replies)
        if too_long:
            error = Internal("the answer holds more than one frame can").to_failure()
            frames += frames_of([Reply(reply.number, failure=error) for reply in too_long])[0]
        for frame in frames:
            self._transport.write(frame)


async def serve(settings: Settings) -> None:
    """Load every bundle, then answer fronts until SIGTERM. Raises what loading raises."""
    loop, metrics = asyncio.get_running_loop(), EngineMetrics()
    asked = asyncio.Event()  # for bundles that may have come too late to be among the first
    loop.add_signal_handler(signal.SIGHUP, asked.set)
    store, tracer = await open_store(settings), _tracer(settings)
    engine = Engine(settings, store, metrics, tracer)
    await _add_hosts(engine, load_hosts(settings, metrics))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, engine.reload_soon)
    fronts: set[FrontConnection] = set()
    server = await loop.create_unix_server(
        lambda: FrontConnection(engine, fronts), settings.engine_socket
    )
    sweeper = asyncio.ensure_future(engine.sweep())
    gc.freeze()  # what was loaded stays
    gc.set_threshold(COLLECTED_AFTER)
    log.info("ready with %d models", len(engine.life.hosts))
    if asked.is_set():
        engine.reload_soon()
    await stop.wait()
    sweeper.cancel()
    server.close()
    await _drain(engine, fronts)
    await store.close()
    if tracer is not None:
        await asyncio.to_thread(tracer.close)


def _tracer(settings: Settings) -> StepTracer | None:
    tracer = tracing.start(settings, "engine")
    if tracer is None:
        return None
    from service.engine.phases import StepTracer

    return StepTracer(tracer)


async def _add_hosts(engine: Engine, hosts: list[Host]) -> None:
    """Serve each but those that are not what their sessions began on. Raises BundleError where
    that leaves none."""
    refused = ""
    for host in hosts:
        try:
            await catalog.refuse_changed(engine.life.store, host.bundle)
        except BundleChanged as error:
            refused = str(error)
            log.error("not served: %s", refused)
        else:
            engine.add(host)
    if refused and not engine.life.hosts:
        raise BundleError(refused)


async def _drain(engine: Engine, fronts: set[FrontConnection]) -> None:
    """Finish what is under way, and keep it, as far as the time for that allows."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(engine.settings.drain_s):
            await engine.drain()
            await _hang_up(fronts)
            await upkeep.checkpoint(engine.life)


async def _hang_up(fronts: set[FrontConnection]) -> None:
    """Close every connection, and return when the last answer has left."""
    for front in list(fronts):
        front.close()
    while fronts:
        await asyncio.sleep(0.005)


def main() -> int:
    """Run the engine. Returns 0, or 2 where it cannot serve what it was asked to."""
    settings = Settings.from_env(os.environ)
    logs.configure(settings)
    lifeline.hold(os.environ)
    disable_created_metrics()  # a series a counter more, and when it began is the process's start
    try:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except (BundleError, BackendError, StoreUnavailable, ValueError) as error:
        print(f"ntm engine: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
