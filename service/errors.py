"""Every error a client can meet, as one tree. The code is stable; the detail is for people.

    NtmError                      status  code
    ├── InvalidRequest            400     invalid_request
    │   ├── InvalidJson           400     invalid_json
    │   ├── InvalidMsgpack        400     invalid_msgpack
    │   ├── WrongShape            400     wrong_shape
    │   ├── NotFinite             400     not_finite
    │   └── HostNotAllowed        400     host_not_allowed
    ├── Unauthenticated           401     unauthenticated
    ├── Forbidden                 403     forbidden
    ├── OriginRefused             403     origin_refused
    ├── NotFound
    │   ├── RouteNotFound         404     route_not_found
    │   ├── ModelNotFound         404     model_not_found
    │   ├── SessionNotFound       404     session_not_found
    │   ├── SequenceNotStarted    404     sequence_not_started
    │   └── PointNotKept          404     point_not_kept
    ├── MethodNotAllowed          405     method_not_allowed
    ├── BodyTimeout               408     body_timeout
    ├── SessionExists             409     session_exists
    ├── SnapshotExists            409     snapshot_exists
    ├── SpecMismatch              409     spec_mismatch
    ├── VersionInUse              409     version_in_use
    ├── BundleChanged             409     bundle_changed
    ├── StepGap                   409     step_gap
    ├── RowsDiffer                409     rows_differ
    ├── SessionExpired            410     session_expired
    ├── SequenceEnded             410     sequence_ended
    ├── SequenceExpired           410     sequence_expired
    ├── RevisionMismatch          412     revision_mismatch
    ├── TooLarge
    │   ├── BodyTooLarge          413     body_too_large
    │   └── TooManyRows           413     too_many_rows
    ├── UnsupportedMediaType      415     unsupported_media_type
    ├── KeyReused                 422     key_reused
    ├── TooMany
    │   ├── QueueFull             429     queue_full
    │   ├── TooManySessions       429     too_many_sessions
    │   ├── TooManyStateBytes     429     too_many_state_bytes
    │   ├── TooManySnapshots      429     too_many_snapshots
    │   ├── TooManyStreams        429     too_many_streams
    │   └── RateLimited           429     rate_limited
    ├── UpgradeRequired           426     upgrade_required
    ├── HeadTooLarge              431     head_too_large
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

from service.errors_base import NtmError, Problem
from service.errors_client import (
    BodyTimeout,
    BodyTooLarge,
    BundleChanged,
    ClientGone,
    Forbidden,
    HeadTooLarge,
    HostNotAllowed,
    InvalidJson,
    InvalidMsgpack,
    InvalidRequest,
    KeyReused,
    MethodNotAllowed,
    ModelNotFound,
    NotFinite,
    NotFound,
    OriginRefused,
    PointNotKept,
    QueueFull,
    RateLimited,
    RevisionMismatch,
    RouteNotFound,
    RowsDiffer,
    SequenceEnded,
    SequenceExpired,
    SequenceNotStarted,
    SessionExists,
    SessionExpired,
    SessionNotFound,
    SnapshotExists,
    SpecMismatch,
    StepGap,
    TooLarge,
    TooMany,
    TooManyRows,
    TooManySessions,
    TooManySnapshots,
    TooManyStateBytes,
    TooManyStreams,
    Unauthenticated,
    UnsupportedMediaType,
    UpgradeRequired,
    VersionInUse,
    WrongShape,
)
from service.errors_server import (
    CommitUnknown,
    DeadlineExceeded,
    Draining,
    EngineUnavailable,
    Internal,
    ModelNotLoaded,
    NotReady,
    StateDamaged,
    StoreAway,
    StoreRolledBack,
    Unavailable,
)
from service.messages import Failure

__all__ = [
    "BodyTimeout", "BodyTooLarge", "BundleChanged", "ClientGone", "CommitUnknown",
    "DeadlineExceeded", "Draining", "EngineUnavailable", "Forbidden", "HeadTooLarge",
    "HostNotAllowed", "Internal", "InvalidJson", "InvalidMsgpack", "InvalidRequest", "KeyReused",
    "MethodNotAllowed", "ModelNotFound", "ModelNotLoaded", "NotFinite", "NotFound", "NotReady",
    "NtmError", "OriginRefused", "PointNotKept", "Problem", "QueueFull", "RateLimited",
    "RevisionMismatch", "RouteNotFound", "RowsDiffer", "SequenceEnded", "SequenceExpired",
    "SequenceNotStarted", "SessionExists", "SessionExpired", "SessionNotFound", "SnapshotExists",
    "SpecMismatch", "StateDamaged", "StepGap", "StoreAway", "StoreRolledBack", "TooLarge",
    "TooMany", "TooManyRows", "TooManySessions", "TooManySnapshots", "TooManyStateBytes",
    "TooManyStreams", "Unauthenticated", "Unavailable", "UnsupportedMediaType", "UpgradeRequired",
    "VersionInUse", "WrongShape", "codes", "from_failure",
]  # fmt: skip


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
