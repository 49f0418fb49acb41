"""One session's WebSocket: rows in, rows out, exactly once by their number.

    read --frames, at most NTM_STREAM_ROWS rows--> work --as many frames as wait, one step--> engine

Each frame says how many rows the session has consumed before its own. The engine steps only where
that holds; rows that were consumed already, before a reconnect say, are answered from the history.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any, NamedTuple

import msgspec

from service.engine.sessions import step_tag
from service.errors import (
    Internal,
    NtmError,
    RevisionMismatch,
    SessionExpired,
    SessionNotFound,
    StepGap,
    Unauthenticated,
)
from service.front_state import FrontState
from service.keys import Identity
from service.requests import Guard, Steps
from service.results import SessionInfo, StepsResult
from service.stream import frames, past
from service.stream.frames import Asked, DoneFrame

STEPS = msgspec.msgpack.Decoder(StepsResult)
TOGETHER = 64  # rows of several frames in one step
TRIES = 8  # while others step the same session
RESTARTING = 1012
FRAMES = "stream frames"  # a span's name
FAILED = "the frame failed; the server's log has more under the request id"

log = logging.getLogger("ntm.front")


class Close(NamedTuple):
    """With what a socket is closed from here."""

    code: int
    reason: str


class RowStream:
    """Runs the frames of one socket in order. It is accepted, and sent to from here only."""

    def __init__(
        self, front: FrontState, socket: Any, info: SessionInfo, identity: Identity, request_id: str
    ) -> None:
        self._front, self._socket, self._request_id = front, socket, request_id
        self._identity = identity
        self._session, self._incarnation = info.id, info.incarnation
        self._asked: deque[Asked] = deque()
        self._waiting = 0  # rows read and not answered; a frame without any counts as one
        self._changed = asyncio.Event()
        self._reading = True

    async def run(self) -> Close | None:
        """Until the client leaves: None; or until it is closed from here."""
        reading = asyncio.ensure_future(self._front.streams.unless_draining(self._read()))
        reading.add_done_callback(self._no_more)
        working = asyncio.ensure_future(self._work())
        try:
            await asyncio.wait((reading, working), return_when=asyncio.FIRST_COMPLETED)
            if reading.done() and reading.result():
                return None
            # What was read before the front stopped is finished.
            return await working or Close(RESTARTING, "the server is stopping")
        finally:
            reading.cancel()
            working.cancel()
            await asyncio.gather(reading, working, return_exceptions=True)

    def _no_more(self, _: object) -> None:
        self._reading = False
        self._changed.set()

    async def _read(self) -> bool:
        """Take frames in while there is room. Returns once the client has left."""
        while True:
            message = await self._socket.receive()
            if message["type"] != "websocket.receive":
                return True
            asked = self._let_in(message)
            rows = asked.dims[0]
            while self._waiting and self._waiting + rows > self._front.settings.stream_rows:
                await self._change()
            self._waiting += rows
            self._asked.append(asked)
            self._changed.set()

    def _let_in(self, message: Any) -> Asked:
        """The frame of a message, where one more is allowed."""
        asked = frames.read(
            message.get("text"), message.get("bytes"), self._front.settings.max_rows
        )
        try:
            self._front.gate.again(self._identity)
        except NtmError as error:
            return Asked(asked.form, asked.at, error=error)
        return asked

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _work(self) -> Close | None:
        while True:
            while self._asked:
                close = await self._answer(self._next())
                if close is not None:
                    return close
            if not self._reading:
                return None
            await self._change()

    def _next(self) -> list[Asked]:
        """The oldest frame, and those after it that can be stepped together with it."""
        batch, rows = [self._asked.popleft()], 0
        while self._asked and _follows(batch[-1], self._asked[0]):
            rows += batch[-1].dims[0]
            if rows + self._asked[0].dims[0] > TOGETHER:
                break
            batch.append(self._asked.popleft())
        return batch

    async def _answer(self, batch: list[Asked]) -> Close | None:
        first = batch[0]
        try:
            done = await (self._run(first) if len(batch) == 1 else self._together(batch))
        except Exception as defect:  # a frame's defect ends that frame, not the stream
            error = self._known(defect)
            if len(batch) == 1:
                return await self._refuse(first, error)
            for asked in batch:  # which of them it is, or which are known already
                close = await self._answer([asked])
                if close is not None:
                    return close
            return None
        begin, width = 0, 4 * done.dims[1]
        for asked in batch:
            end = begin + asked.dims[0] * width
            await self._tell(asked, done, done.outputs[begin:end])
            begin = end
        return None

    async def _together(self, batch: list[Asked]) -> StepsResult:
        """Step the rows of several frames. Raises NtmError."""
        dims = (sum(asked.dims[0] for asked in batch), batch[0].dims[1])
        packed = b"".join(asked.packed for asked in batch)
        return await self._step(batch[0].at or 0, packed, dims, False)

    async def _run(self, asked: Asked) -> StepsResult:
        """Step a frame's rows, but for those that were consumed before. Raises NtmError."""
        if asked.error is not None:
            raise asked.error
        dims, packed, at = asked.dims, asked.packed, asked.at or 0
        end, known, revision = at + dims[0], b"", 0
        for _ in range(TRIES):
            try:
                done = await self._step(at, packed, (end - at, dims[1]), asked.trace)
            except RevisionMismatch as error:
                stands = self._stands(error, at)
            else:
                return _behind(known, done) if known else done
            size = 4 * dims[1] * (min(stands, end) - at)
            if size:
                found = await self._find(at, packed[:size], dims[1])
                known, packed, revision = known + found.outputs, packed[size:], found.revision
                at = min(stands, end)
            if at == end:
                width = len(known) // (4 * dims[0])
                answered = (known, (dims[0], width), end, revision, self._incarnation)
                return StepsResult(*answered, replayed=True)
        raise RevisionMismatch(f"the session went on {TRIES} times while these rows came in")

    async def _step(
        self, at: int, packed: bytes, dims: tuple[int, int], trace: bool
    ) -> StepsResult:
        guard = Guard(None, b"", step_tag(self._incarnation, at))
        call = Steps(self._identity.tenant, self._session, packed, dims, trace, guard)
        if self._front.tracer is None:
            return await self._front.link.call(STEPS, call, request_id=self._request_id)
        about = {"ntm.rows": dims[0], "ntm.request_id": self._request_id}
        with self._front.tracer.serving(FRAMES, {}, about) as span:
            try:
                return await self._front.link.call(STEPS, call, request_id=self._request_id)
            except NtmError as error:
                self._front.tracer.fail(span, error)
                raise

    async def _find(self, at: int, packed: bytes, width: int) -> past.Past:
        found, link = past.Past(at, packed, width), self._front.link
        await past.find(link, self._identity.tenant, self._session, found, at, self._request_id)
        return found

    def _stands(self, error: RevisionMismatch, at: int) -> int:
        """Rows consumed, where they are not as many as a frame said. Raises NtmError."""
        stands, etag = error.extra.get("step"), error.extra.get("got")
        if not isinstance(stands, int) or not isinstance(etag, str):
            raise Internal("the engine did not say where the session stands")
        if etag.rpartition("-")[0] != self._incarnation:
            raise SessionNotFound(
                f"the session {self._session!r} of this stream has ended; another has its id"
            )
        if stands < at:
            raise StepGap(
                f"at: expected at most {stands}, the rows consumed so far, got {at}",
                expected=stands,
                got=at,
                where="at",
            )
        return stands

    async def _tell(self, asked: Asked, done: StepsResult, outputs: bytes) -> None:
        form, rows, at = asked.form, asked.dims[0], asked.at or 0
        trace = None if done.trace is None else [form.view(tensor) for tensor in done.trace]
        said = form.rows(outputs, (rows, done.dims[1]))
        frame = DoneFrame(at, said, at + rows, done.revision, trace, done.replayed)
        await self._send(asked, frames.written(form, frame))

    def _known(self, error: Exception) -> NtmError:
        known = error if isinstance(error, NtmError) else Internal(FAILED)
        if isinstance(known, Internal):
            cause = None if isinstance(error, NtmError) else error
            log.error("a frame failed: %s", error, exc_info=cause)
        return known

    async def _refuse(self, asked: Asked, error: NtmError) -> Close | None:
        self._front.metrics.errors.labels(error.code).inc()
        await self._send(asked, frames.problem(asked, error, self._request_id))
        if isinstance(error, SessionNotFound | SessionExpired | Unauthenticated):
            return Close(4000 + error.status, error.code)
        return None

    async def _send(self, asked: Asked, data: str | bytes) -> None:
        kind = "text" if isinstance(data, str) else "bytes"
        await self._socket.send({"type": "websocket.send", kind: data})
        self._waiting -= asked.dims[0]
        self._changed.set()


def _behind(known: bytes, done: StepsResult) -> StepsResult:
    """Rows of which the first were known. A trace of the rest alone would only mislead."""
    outputs = known + done.outputs
    dims = (len(outputs) // (4 * done.dims[1]), done.dims[1])
    return msgspec.structs.replace(done, outputs=outputs, dims=dims, trace=None, replayed=True)


def _follows(before: Asked, after: Asked) -> bool:
    whole = before.error is None and after.error is None and not (before.trace or after.trace)
    ends = (before.at or 0) + before.dims[0]
    return whole and before.dims[1] == after.dims[1] and after.at == ends
