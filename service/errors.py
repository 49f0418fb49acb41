"""Every error a client can meet, as one tree. The code is stable; the detail is for people.

    NtmError                      status  code
    ├── InvalidRequest            400     invalid_request
    │   ├── InvalidJson           400     invalid_json
    │   ├── WrongShape            400     wrong_shape
    │   └── NotFinite             400     not_finite
    ├── NotFound
    │   ├── RouteNotFound         404     route_not_found
    │   ├── ModelNotFound         404     model_not_found
    │   ├── SessionNotFound       404     session_not_found
    │   └── PointNotKept          404     point_not_kept
    ├── MethodNotAllowed          405     method_not_allowed
    ├── BodyTimeout               408     body_timeout
    ├── SessionExists             409     session_exists
    ├── SnapshotExists            409     snapshot_exists
    ├── SpecMismatch              409     spec_mismatch
    ├── VersionInUse              409     version_in_use
    ├── BundleChanged             409     bundle_changed
    ├── SessionExpired            410     session_expired
    ├── RevisionMismatch          412     revision_mismatch
    ├── TooLarge
    │   ├── BodyTooLarge          413     body_too_large
    │   └── TooManyRows           413     too_many_rows
    ├── UnsupportedMediaType      415     unsupported_media_type
    ├── KeyReused                 422     key_reused
    ├── TooMany
    │   ├── QueueFull             429     queue_full
    │   ├── TooManySessions       429     too_many_sessions
    │   └── TooManySnapshots      429     too_many_snapshots
    ├── HeadTooLarge          431     head_too_large
    ├── ClientGone                499     client_gone            (counted, never received)
    ├── Internal                  500     internal
    ├── StateDamaged              500     state_damaged
    ├── Unavailable
    │   ├── EngineUnavailable     503     engine_unavailable
    │   ├── NotReady              503     not_ready
    │   ├── ModelNotLoaded        503     model_not_loaded
    │   ├── Draining              503     draining
    │   ├── StoreAway             503     store_away
    │   ├── StoreRolledBack       503     store_rolled_back
    │   └── CommitUnknown         503     commit_unknown
    └── DeadlineExceeded          504     deadline_exceeded

The engine sends a `Failure` with the code; `from_failure` makes the error of it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import msgspec

from service.messages import Failure

TYPE_PREFIX = "urn:problem-type:ntm:"


class Problem(msgspec.Struct, frozen=True):
    """An error as a client gets it (RFC 9457). Further members say what was expected and got."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str


class NtmError(Exception):
    """The root. `extra` becomes further members of the problem details, `headers` headers."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = ""
    title: ClassVar[str] = ""
    retry_after_s: ClassVar[int | None] = None

    def __init__(self, detail: str, *, headers: dict[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra
        self.headers = dict(headers or {})
        if self.retry_after_s is not None:
            self.headers.setdefault("retry-after", str(self.retry_after_s))

    def to_failure(self) -> Failure:
        """The message that carries this error from the engine to a front."""
        return Failure(self.code, self.detail, self.extra)

    def to_body(self, request_id: str) -> bytes:
        """The problem details, as JSON."""
        problem = Problem(
            TYPE_PREFIX + self.code, self.title, self.status, self.detail, self.code, request_id
        )
        extra = {name: value for name, value in self.extra.items() if name not in _MEMBERS}
        return msgspec.json.encode(msgspec.structs.asdict(problem) | extra)


_MEMBERS = frozenset(Problem.__struct_fields__)


class InvalidRequest(NtmError):
    """The request does not fit its description."""

    status, code, title = 400, "invalid_request", "The request is not valid"


class InvalidJson(InvalidRequest):
    """The body is no JSON document."""

    code, title = "invalid_json", "The body is not JSON"


class WrongShape(InvalidRequest):
    """Rows or a state tensor of another shape than the model's."""

    code, title = "wrong_shape", "The numbers have the wrong shape"


class NotFinite(InvalidRequest):
    """A number that float32 cannot hold."""

    code, title = "not_finite", "A number is not a finite float32"


class NotFound(NtmError):
    """There is nothing here."""

    status = 404


class RouteNotFound(NotFound):
    """No route has this path."""

    code, title = "route_not_found", "There is no such path"


class ModelNotFound(NotFound):
    """No such model, or no such version of it, is loaded."""

    code, title = "model_not_found", "There is no such model"


class SessionNotFound(NotFound):
    """Nobody created this session, or it was deleted."""

    code, title = "session_not_found", "There is no such session"


class MethodNotAllowed(NtmError):
    """The path has no such method."""

    status, code, title = 405, "method_not_allowed", "The path does not take this method"


class BodyTimeout(NtmError):
    """The body did not arrive in time."""

    status, code, title = 408, "body_timeout", "The body took too long to arrive"


class PointNotKept(NotFound):
    """The history does not reach back there, or there is no such snapshot."""

    code, title = "point_not_kept", "This point of the session is not kept"


class SnapshotExists(NtmError):
    """The session has a snapshot of that name."""

    status, code, title = 409, "snapshot_exists", "There is a snapshot of this name"


class SpecMismatch(NtmError):
    """A state of another make than the model's."""

    status, code, title = 409, "spec_mismatch", "The state is of another make"


class VersionInUse(NtmError):
    """A version that live sessions are on."""

    status, code, title = 409, "version_in_use", "Sessions live on this version"


class BundleChanged(NtmError):
    """A bundle that is another than the one loaded under its name and version."""

    status, code, title = 409, "bundle_changed", "Another bundle is loaded under this version"


class SessionExists(NtmError):
    """A session of that id lives."""

    status, code, title = 409, "session_exists", "There is a session of this id"


class SessionExpired(NtmError):
    """The session was idle for longer than its TTL."""

    status, code, title = 410, "session_expired", "The session has expired"


class RevisionMismatch(NtmError):
    """If-Match does not hold."""

    status, code, title = 412, "revision_mismatch", "The session stands at another revision"


class TooLarge(NtmError):
    """More than one request may bring."""

    status = 413


class BodyTooLarge(TooLarge):
    """The body has more bytes than NTM_MAX_BODY_BYTES."""

    code, title = "body_too_large", "The body is too large"


class TooManyRows(TooLarge):
    """More rows than NTM_MAX_ROWS."""

    code, title = "too_many_rows", "The request has too many rows"


class UnsupportedMediaType(NtmError):
    """The body is of a type that the route does not read."""

    status, code, title = 415, "unsupported_media_type", "The body is of an unknown type"


class KeyReused(NtmError):
    """The Idempotency-Key belongs to another request."""

    status, code, title = 422, "key_reused", "The idempotency key belongs to another request"


class TooMany(NtmError):
    """More than the server takes at a time."""

    status, retry_after_s = 429, 1


class QueueFull(TooMany):
    """NTM_MAX_QUEUE requests wait already."""

    code, title = "queue_full", "The model's queue is full"


class TooManySessions(TooMany):
    """NTM_MAX_SESSIONS sessions live already."""

    code, title = "too_many_sessions", "There are too many sessions"


class TooManySnapshots(TooMany):
    """NTM_MAX_SNAPSHOTS are kept."""

    code, title = "too_many_snapshots", "The session keeps too many snapshots"


class HeadTooLarge(NtmError):
    """The request's line and headers are longer than 64 KiB."""

    status, code, title = 431, "head_too_large", "The request's head is too large"


class ClientGone(NtmError):
    """The client went away before its answer. Counted under 499, never received."""

    status, code, title = 499, "client_gone", "The client went away"


class Internal(NtmError):
    """A defect of the server."""

    status, code, title = 500, "internal", "The server failed"


class StateDamaged(NtmError):
    """What is stored of the session does not match its checksum."""

    status, code, title = 500, "state_damaged", "The stored session is damaged"


class Unavailable(NtmError):
    """Not now; trying again is right."""

    status, retry_after_s = 503, 1


class EngineUnavailable(Unavailable):
    """The engine process is starting or away. The request was not run."""

    code, title = "engine_unavailable", "The engine is not available"


class NotReady(Unavailable):
    """Models are still being loaded or warmed."""

    code, title = "not_ready", "The server is not ready"


class ModelNotLoaded(Unavailable):
    """The session's own model, version and bundle are not loaded."""

    code, title = "model_not_loaded", "The session's model is not loaded"


class Draining(Unavailable):
    """The server is stopping."""

    code, title = "draining", "The server is stopping"


class StoreAway(Unavailable):
    """The store cannot be reached. Nothing was changed."""

    code, title = "store_away", "The store cannot be reached"


class StoreRolledBack(Unavailable):
    """The store came back without something that was acknowledged."""

    code, title = "store_rolled_back", "The store is behind what was acknowledged"


class CommitUnknown(Unavailable):
    """Nobody knows whether the request was committed: send it again with the same key."""

    code, title = "commit_unknown", "It is not known whether the request took effect"


class DeadlineExceeded(NtmError):
    """NTM_REQUEST_TIMEOUT_S went by. Nothing was changed."""

    status, code, title = 504, "deadline_exceeded", "The request took too long"


def _leaves(root: type[NtmError]) -> Iterator[type[NtmError]]:
    for kind in root.__subclasses__():
        if "code" in kind.__dict__:
            yield kind
        yield from _leaves(kind)


def codes() -> dict[str, type[NtmError]]:
    """Every error by its code."""
    return dict(_BY_CODE)


_BY_CODE: dict[str, type[NtmError]] = {kind.code: kind for kind in _leaves(NtmError)}


def from_failure(failure: Failure) -> NtmError:
    """The error that a failure stands for. An unknown code is an `Internal`."""
    kind = _BY_CODE.get(failure.code, Internal)
    reserved = ("detail", "headers")
    extra = {name: value for name, value in failure.extra.items() if name not in reserved}
    return kind(failure.detail, **extra)
