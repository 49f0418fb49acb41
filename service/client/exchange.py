"""One request until its answer, without any I/O: a generator that says what is to be done next.

    exchange(call) --Send--> shell (httpx, blocking or awaited) --Reply or Lost--> exchange(call)
                   --Wait--> shell (sleep)                      --None-->

It returns the answer of success and raises an error of `errors.py` for everything else. What is
sent again is the same bytes under the same headers, so that the Idempotency-Key says it is.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple, TypeAlias, TypeVar

import msgspec

from service.client import problems
from service.client.backoff import Backoff
from service.client.errors import (
    ApiError,
    NoAnswer,
    QuotaReached,
    StoreRolledBack,
    TimedOut,
)

KEY = "idempotency-key"
PASSING = frozenset({408, 429, 502, 503, 504})  # statuses that another try may not meet
# Of a status that passes: nothing was changed. Any other code, or none (a proxy's), does not say.
UNCHANGED = frozenset({
    "body_timeout", "queue_full", "rate_limited", "too_many_streams", "draining", "not_ready",
    "engine_unavailable", "model_not_loaded", "store_away", "deadline_exceeded",
    "store_rolled_back", "too_many_sessions", "too_many_snapshots", "too_many_state_bytes",
})  # fmt: skip
LEAST_TIMEOUT_S = 0.001


class Call(msgspec.Struct, frozen=True):
    """A request as it is sent. pure: it changes nothing, though its method is POST."""

    method: str
    path: str
    headers: dict[str, str] = {}
    body: bytes = b""
    query: dict[str, str] = {}
    pure: bool = False

    @property
    def repeatable(self) -> bool:
        """May it be sent again where nobody knows what became of the first time?"""
        return self.pure or self.method in ("GET", "DELETE") or KEY in self.headers


class Send(NamedTuple):
    """Send this, and give back a Reply or a Lost within the time."""

    call: Call
    timeout_s: float


class Wait(NamedTuple):
    """Wait as long, and give back None."""

    seconds: float


class Reply(NamedTuple):
    """An answer. headers: by name in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Lost(NamedTuple):
    """No answer. sent: the server may have had it; hopeless: another try would fail as well."""

    reason: str
    sent: bool = True
    timed_out: bool = False
    hopeless: bool = False


T = TypeVar("T")
Flow: TypeAlias = Generator[Send | Wait, Reply | Lost | None, T]


def exchange(call: Call, backoff: Backoff, timeout_s: float) -> Flow[Reply]:
    """Send a call until it is answered or may not be sent again. Raises ApiError and NoAnswer."""
    attempts, unsure = 0, False
    while True:
        attempts += 1
        answer = yield Send(call, max(min(timeout_s, backoff.left_s), LEAST_TIMEOUT_S))
        if isinstance(answer, Reply) and 200 <= answer.status < 300:
            return answer
        error = failure(answer)
        unsure = unsure or error.maybe_done
        pause = backoff.pause(_asked_s(error)) if _again(call, answer, error) else None
        if pause is None:
            error.attempts, error.maybe_done, error.key = attempts, unsure, call.headers.get(KEY)
            raise error
        yield Wait(pause)


def failure(answer: Reply | Lost | None) -> ApiError | NoAnswer:
    """What an answer that is none of success stands for."""
    if isinstance(answer, Reply):
        error = problems.error_of(answer.status, answer.headers, answer.body)
        error.maybe_done = error.status in PASSING | {500} and error.code not in UNCHANGED
        return error
    lost = answer or Lost("nothing was sent", sent=False)
    silence = (TimedOut if lost.timed_out else NoAnswer)(lost.reason)
    silence.maybe_done = lost.sent
    return silence


def passes(error: ApiError) -> bool:
    """May another try meet something else than this?"""
    lasting = isinstance(error, QuotaReached | StoreRolledBack)
    return error.status in PASSING and not lasting


def _again(call: Call, answer: Reply | Lost | None, error: ApiError | NoAnswer) -> bool:
    safe = call.repeatable or not error.maybe_done
    if isinstance(error, ApiError):
        return safe and passes(error)
    return safe and not (isinstance(answer, Lost) and answer.hopeless)


def _asked_s(error: ApiError | NoAnswer) -> float:
    return error.retry_after_s if isinstance(error, ApiError) else 0.0
