"""A call of the engine whose answer is awaited, and what its caller is told where none comes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from service.errors import CommitUnknown, DeadlineExceeded, EngineUnavailable, NtmError
from service.messages import Call
from service.requests import Sequence

log = logging.getLogger("ntm.link")

Receive = Callable[[], Awaitable[Any]]  # ASGI's
Done = Callable[[Any], None]


class Pending:
    """A call whose answer is awaited. `done` gets it: the raw result, or an NtmError."""

    __slots__ = ("_done", "call", "deadline", "receive", "sent", "watcher")

    def __init__(self, call: Call, deadline: float, done: Done, receive: Receive | None) -> None:
        self.call, self.deadline, self.receive = call, deadline, receive
        self._done: Done | None = done
        self.sent = False
        self.watcher: asyncio.Task[None] | None = None

    def end(self, outcome: Any) -> None:
        """Tell the outcome, once: a second one is dropped."""
        done, self._done = self._done, None
        self.unwatch()
        if done is None:
            return
        try:
            done(outcome)
        except Exception:  # a defect costs its caller, and not the link, which is everybody's
            log.exception("telling an outcome failed")

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
