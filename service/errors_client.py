"""The errors that are answered with 4xx: another request is needed, or the same one later."""

from __future__ import annotations

from service.errors_base import NtmError


class InvalidRequest(NtmError):
    """The request does not fit its description."""

    status, code, title = 400, "invalid_request", "The request is not valid"


class InvalidJson(InvalidRequest):
    """The body is no JSON document."""

    code, title = "invalid_json", "The body is not JSON"


class InvalidMsgpack(InvalidRequest):
    """The body is no MessagePack document."""

    code, title = "invalid_msgpack", "The body is no MessagePack"


class WrongShape(InvalidRequest):
    """Rows or a state tensor of another shape than the model's."""

    code, title = "wrong_shape", "The numbers have the wrong shape"


class NotFinite(InvalidRequest):
    """A number that float32 cannot hold."""

    code, title = "not_finite", "A number is not a finite float32"


class HostNotAllowed(InvalidRequest):
    """The Host header names another server than this one."""

    code, title = "host_not_allowed", "The server does not go by this name"


class Unauthenticated(NtmError):
    """No key, or one that is unknown, revoked or expired."""

    status, code, title = 401, "unauthenticated", "The request needs a key"


class Forbidden(NtmError):
    """The key has not the scope that the route asks for."""

    status, code, title = 403, "forbidden", "The key does not reach so far"


class OriginRefused(NtmError):
    """A page of another site sent the request through somebody's browser."""

    status, code, title = 403, "origin_refused", "Pages of this site may not call the server"


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


class PointNotKept(NotFound):
    """The history does not reach back there, or there is no such snapshot."""

    code, title = "point_not_kept", "This point of the session is not kept"


class MethodNotAllowed(NtmError):
    """The path has no such method."""

    status, code, title = 405, "method_not_allowed", "The path does not take this method"


class BodyTimeout(NtmError):
    """The body did not arrive in time."""

    status, code, title = 408, "body_timeout", "The body took too long to arrive"


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


class StepGap(NtmError):
    """A frame's rows begin past where the session stands."""

    status, code, title = 409, "step_gap", "Rows before these are missing"


class RowsDiffer(NtmError):
    """Other rows than these were consumed at this step."""

    status, code, title = 409, "rows_differ", "Other rows were consumed at this step"


class SessionExpired(NtmError):
    """The session was idle for longer than its TTL."""

    status, code, title = 410, "session_expired", "The session has expired"


class SequenceNotStarted(NotFound):
    """A row of a sequence that nobody has started."""

    code, title = "sequence_not_started", "The sequence has not been started"


class SequenceEnded(NtmError):
    """The sequence has had its last row, or its session was deleted."""

    status, code, title = 410, "sequence_ended", "The sequence has ended"


class SequenceExpired(NtmError):
    """The sequence was idle for longer than its session's TTL."""

    status, code, title = 410, "sequence_expired", "The sequence has expired"


class RevisionMismatch(NtmError):
    """If-Match does not hold."""

    status, code, title = 412, "revision_mismatch", "The session stands at another revision"


class TooLarge(NtmError):
    """More than one request may bring."""

    status = 413


class BodyTooLarge(TooLarge):
    """The body has more bytes than NTM_MAX_BODY_BYTES, or than NTM_MAX_EXPANDED_BYTES expanded."""

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
    """NTM_MAX_QUEUE requests wait already, or the tenant's share of them."""

    code, title = "queue_full", "The model's queue is full"


class TooManySessions(TooMany):
    """NTM_MAX_SESSIONS sessions live already, or NTM_TENANT_SESSIONS of the tenant."""

    code, title = "too_many_sessions", "There are too many sessions"


class TooManyStateBytes(TooMany):
    """The tenant's sessions would keep more than NTM_TENANT_STATE_BYTES of state."""

    code, title = "too_many_state_bytes", "The tenant's sessions keep too much state"


class TooManySnapshots(TooMany):
    """NTM_MAX_SNAPSHOTS are kept."""

    code, title = "too_many_snapshots", "The session keeps too many snapshots"


class TooManyStreams(TooMany):
    """NTM_MAX_STREAMS are open already, or NTM_TENANT_STREAMS of the tenant."""

    code, title = "too_many_streams", "There are too many open streams"


class RateLimited(TooMany):
    """The tenant sends more than NTM_TENANT_REQUESTS_S requests a second."""

    code, title = "rate_limited", "The tenant sends too many requests"


class UpgradeRequired(NtmError):
    """The path speaks WebSocket."""

    status, code, title = 426, "upgrade_required", "The path speaks WebSocket"


class HeadTooLarge(NtmError):
    """The request's line and headers are longer than 64 KiB."""

    status, code, title = 431, "head_too_large", "The request's head is too large"


class ClientGone(NtmError):
    """The client went away before its answer. Counted under 499, never received."""

    status, code, title = 499, "client_gone", "The client went away"
