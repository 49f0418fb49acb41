"""Everything the client raises, as one tree. No error of httpx or websockets gets out.

    NtmClientError
    ├── Misuse                 what was asked cannot be sent (also a ValueError)
    ├── NoAnswer               no answer came, after every try: refused, cut off
    │   └── TimedOut           the last try took too long
    ├── BadAnswer              an answer that is none of the server's
    └── ApiError               the server said no: status, code, detail, request_id, ...
        ├── InvalidRequest     400, 405, 408, 415, 426, 431, and any other 4xx
        ├── Unauthenticated    401
        ├── Forbidden          403
        ├── NotFound           404
        │   ├── SessionNotFound, ModelNotFound, PointNotKept
        ├── Conflict           409
        │   ├── SessionExists, SnapshotExists, SpecMismatch, RowsDiffer, StepGap
        ├── Expired            410
        ├── RevisionMismatch   412: the session is not where this handle last saw it
        ├── TooLarge           413
        ├── KeyReused          422
        ├── TooMany            429
        │   └── QuotaReached   429 that no waiting helps: sessions, snapshots, bytes of state
        ├── Unavailable        503
        │   ├── CommitUnknown, StoreRolledBack
        └── ServerError        500 and any other 5xx
            └── DeadlineExceeded   504

`maybe_done` says whether the request, or an earlier try of it, may have been carried out for all
the caller knows. Asking again with the same `key` finds out, for as long as the reply is kept.
"""

from __future__ import annotations

from typing import Any

import msgspec


class NtmClientError(Exception):
    """The root of all that the client raises."""


class Misuse(NtmClientError, ValueError):
    """What was asked cannot be sent: rows that are no numbers, a URL that is none."""


class BadAnswer(NtmClientError):
    """What came is no answer of this server: another one's, or cut short by a proxy."""


class _Failed(NtmClientError):
    """What both kinds of failed requests tell: how often it was sent, and with which key."""

    attempts: int = 1
    maybe_done: bool = False
    key: str | None = None


class NoAnswer(_Failed):
    """Nothing was answered, after every try."""


class TimedOut(NoAnswer):
    """The last try was not answered in time."""


class Problem(msgspec.Struct, frozen=True):
    """What problem details say (RFC 9457); what an answer leaves out is empty."""

    status: int
    detail: str = ""
    code: str = ""
    request_id: str = ""
    expected: Any = None
    got: Any = None
    where: str | None = None


class ApiError(_Failed):
    """The server, or a proxy before it, said no.

    code: stable, empty where the answer had none; expected, got, where: as far as it said them;
    retry_after_s: seconds it asked to wait.
    """

    def __init__(self, problem: Problem, retry_after_s: float = 0.0) -> None:
        super().__init__(problem.detail)
        self.status, self.detail, self.code = problem.status, problem.detail, problem.code
        self.request_id, self.where = problem.request_id, problem.where
        self.expected, self.got = problem.expected, problem.got
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        told = [self.code or f"HTTP {self.status}"]
        if self.request_id:
            told.append(f"request {self.request_id}")
        said = f"{self.detail} ({', '.join(told)})"
        if self.maybe_done and self.attempts > 1:
            said += f"; sent {self.attempts} times, and one of them may have been carried out"
        return said


class InvalidRequest(ApiError):
    """The request does not fit: shape, numbers, names, headers."""


class Unauthenticated(ApiError):
    """No key, or an unknown one."""


class Forbidden(ApiError):
    """The key may not do this."""


class NotFound(ApiError):
    """There is no such thing."""


class SessionNotFound(NotFound):
    """Nobody created this session, or it was deleted."""


class ModelNotFound(NotFound):
    """No such model, or no such version of it, is loaded."""


class PointNotKept(NotFound):
    """The history does not reach back there, or there is no such snapshot."""


class Conflict(ApiError):
    """What is there stands against it."""


class SessionExists(Conflict):
    """A session of that id lives."""


class SnapshotExists(Conflict):
    """The session has a snapshot of that name."""


class SpecMismatch(Conflict):
    """A state of another make than the model's."""


class RowsDiffer(Conflict):
    """Other rows than these were consumed at this step."""


class StepGap(Conflict):
    """A stream's rows begin past where the session stands: those before them were refused."""


class Expired(ApiError):
    """The session was idle for longer than its TTL, or the sequence has ended."""


class RevisionMismatch(ApiError):
    """If-Match does not hold: somebody else moved the session, or an earlier try of this very
    request did whose reply is not kept any more (then `maybe_done`). `info()` tells where it is."""


class TooLarge(ApiError):
    """More bytes or rows than one request may bring."""


class KeyReused(ApiError):
    """The key belongs to another request."""


class TooMany(ApiError):
    """More than the server takes at a time."""


class QuotaReached(TooMany):
    """As much as may be kept: something must go first, so this is not tried again."""


class Unavailable(ApiError):
    """Not now; it was tried again for as long as the retries say."""


class CommitUnknown(Unavailable):
    """Nobody knows whether the request was committed. Asking again with `key` tells."""


class StoreRolledBack(Unavailable):
    """The store came back without something that was acknowledged. Not tried again."""


class ServerError(ApiError):
    """A defect of the server, or a proxy that could not reach it."""


class DeadlineExceeded(ServerError):
    """It took longer than the server allows."""


BY_CODE: dict[str, type[ApiError]] = {
    "session_not_found": SessionNotFound,
    "model_not_found": ModelNotFound,
    "point_not_kept": PointNotKept,
    "session_exists": SessionExists,
    "snapshot_exists": SnapshotExists,
    "spec_mismatch": SpecMismatch,
    "rows_differ": RowsDiffer,
    "step_gap": StepGap,
    "too_many_sessions": QuotaReached,
    "too_many_snapshots": QuotaReached,
    "too_many_state_bytes": QuotaReached,
    "commit_unknown": CommitUnknown,
    "store_rolled_back": StoreRolledBack,
}
BY_STATUS: dict[int, type[ApiError]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Expired,
    412: RevisionMismatch,
    413: TooLarge,
    422: KeyReused,
    429: TooMany,
    503: Unavailable,
    504: DeadlineExceeded,
}


def api_error(problem: Problem, retry_after_s: float = 0.0) -> ApiError:
    """The error of a problem: by its code, else by its status."""
    kind = BY_CODE.get(problem.code) or BY_STATUS.get(problem.status)
    if kind is None:
        kind = ServerError if problem.status >= 500 else InvalidRequest
    return kind(problem, retry_after_s)
