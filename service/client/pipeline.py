"""Rows in flight over a session's WebSocket, without the socket.

Each frame says how many rows came before it, so after a broken connection what has no answer yet
is sent again as it was, and the server steps none of it twice. A refusal that passes (the engine
restarts, say) is met in the same way: the connection is given up, and taken up again.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple, TypeAlias

import msgspec

from service.client import calls, codec, problems
from service.client.answers import SessionInfo, Stepped
from service.client.codec import Raw, Rows, View
from service.client.core import Core
from service.client.errors import (
    ApiError,
    BadAnswer,
    Expired,
    Misuse,
    NoAnswer,
    Problem,
    SessionNotFound,
    api_error,
)
from service.client.exchange import Call, Lost, Reply, failure, passes
from service.client.session_core import SessionCore

WINDOW_ROWS = 128  # half of what the server reads ahead by default (NTM_STREAM_ROWS)
GONE = {4404: 404, 4410: 410}  # why the server closed for good
BROKEN = (1002, 1003, 1007, 1009)  # it could not read what was sent


class Refused(msgspec.Struct, frozen=True):
    """What came in place of outputs."""

    error: ApiError


Outcome: TypeAlias = Stepped | Refused


class _Frame(NamedTuple):
    at: int
    rows: int
    message: bytes
    turn: int  # frames of an earlier turn counted on rows that were refused


class _Answer(msgspec.Struct, frozen=True):
    at: int | None
    outputs: Raw | None = None
    step: int = 0
    revision: int = 0
    trace: list[View] | None = None
    replayed: bool = False
    status: int = 500


class Pipeline:
    """What was sent and is not answered, in order, and what its answers mean."""

    def __init__(self, core: Core, session: SessionCore, window: int, retries: Any = None) -> None:
        if window < 1:
            raise Misuse(f"window: expected rows, 1 or more, got {window}")
        self._session, self._window = session, window
        self._incarnation = session.incarnation
        self._backoff = core.backoff(retries)
        self._frames: deque[_Frame] = deque()
        self._begun, self._next, self._turn = False, 0, 0

    @property
    def waiting(self) -> int:
        """Frames that have no answer yet."""
        return len(self._frames)

    def has_room(self, rows: Raw) -> bool:
        """May these be sent before anything is answered?"""
        if not self._frames:
            return True
        # Frames that are to get `step_gap` must have it before rows come that close the gap.
        doomed = self._frames[0].turn != self._turn
        flying = sum(frame.rows for frame in self._frames)
        return not doomed and flying + rows.dims[0] <= self._window

    def offer(self, rows: Raw, trace: bool) -> bytes:
        """The message of a frame, which is now in flight."""
        said = {"at": self._next, "inputs": rows} | ({"trace": True} if trace else {})
        message = codec.encode(said)
        self._frames.append(_Frame(self._next, rows.dims[0], message, self._turn))
        self._next += rows.dims[0]
        return message

    def greet(self, message: str | bytes) -> list[bytes]:
        """The first frame of a connection: the messages to send again. Raises SessionNotFound."""
        info = codec.unpack(SessionInfo, _bytes(message))
        if info.incarnation != self._incarnation:
            detail = f"session {info.id!r} has ended; another one has its id"
            raise SessionNotFound(Problem(404, detail, "session_not_found"))
        if not self._begun:
            self._begun, self._next = True, info.step
            self._session.moved_to(info.step, info.revision)
        return [frame.message for frame in self._frames]

    def take(self, message: str | bytes) -> Outcome | None:
        """The outcome of the oldest frame; None where the connection is to be taken up anew."""
        answer = codec.unpack(_Answer, _bytes(message))
        if not self._frames or answer.at not in (None, self._frames[0].at):
            raise BadAnswer(f"an answer to rows at {answer.at} that nobody waits for")
        if answer.outputs is None:
            return self._refused(codec.unpack(dict, _bytes(message)), answer.status)
        self._frames.popleft()
        self._backoff.begin_anew()
        self._session.moved_to(answer.step, answer.revision)
        trace = None if answer.trace is None else codec.tensors_of(answer.trace)
        outputs = codec.array_of(answer.outputs)
        return Stepped(outputs, answer.step, answer.revision, trace, answer.replayed)

    def _refused(self, said: dict[str, Any], status: int) -> Refused | None:
        error = api_error(problems.from_members(said, status))
        if passes(error):
            return None
        frame = self._frames.popleft()
        if frame.turn == self._turn:  # those behind it will get `step_gap`; new ones begin here
            self._turn, self._next = self._turn + 1, frame.at
        return Refused(error)

    def pause(self, answer: Reply | Lost) -> float:
        """Seconds until the next connection. Raises ApiError and NoAnswer where there is none."""
        error = failure(answer)
        if isinstance(error, ApiError):
            pause = self._backoff.pause(error.retry_after_s) if passes(error) else None
        else:
            hopeless = isinstance(answer, Lost) and answer.hopeless
            pause = None if hopeless else self._backoff.pause()
        if pause is None:
            error.maybe_done = isinstance(error, NoAnswer) and bool(self._frames)
            raise error
        return pause

    def closed(self, code: int, reason: str) -> Lost:
        """What a close from the other side means. Raises Expired, SessionNotFound, BadAnswer."""
        if code in GONE:
            kind = Expired if code == 4410 else SessionNotFound
            detail = f"session {self._session.id!r} has ended"
            raise kind(Problem(GONE[code], detail, reason))
        if code in BROKEN:
            raise BadAnswer(f"the server closed the stream: {code} {reason}")
        return Lost(f"the stream was closed: {code} {reason}".rstrip())


def packed(rows: Rows) -> Raw:
    """Rows as they are sent. Raises Misuse, also where there is nothing."""
    found = codec.pack(rows)
    if 0 in found.dims:
        raise Misuse("rows: expected one or more numbers, got none")
    return found


def stream_call(core: Core, session: str) -> Call:
    """The handshake: its path is the URL of the WebSocket."""
    path = calls.path_of("sessions", session, "stream")
    url = core.config.url.replace("http", "ws", 1) + path
    headers = core.config.headers | {"accept": codec.MSGPACK}
    headers.pop("user-agent")
    return Call("GET", url, headers)


def _bytes(message: str | bytes) -> bytes:
    if isinstance(message, str):
        raise BadAnswer(f"expected a binary frame, got text: {message[:80]!r}")
    return message
