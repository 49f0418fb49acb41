"""The Python client: `Client`, and `AsyncClient` for asyncio, over one core.

    with Client() as client, client.session("copy") as session:
        outputs = session.step(rows).outputs

It imports the standard library, httpx, msgspec, numpy and, for streams, websockets: nothing of
the server.
"""

from service.client.aio import AsyncClient
from service.client.aio_session import AsyncSession
from service.client.aio_stream import AsyncRowStream
from service.client.answers import (
    Event,
    HistoryEntry,
    Memory,
    Model,
    Moved,
    NamedTensor,
    SessionInfo,
    Snapshot,
    Stepped,
)
from service.client.backoff import Retries
from service.client.client import Client
from service.client.errors import (
    ApiError,
    BadAnswer,
    CommitUnknown,
    Conflict,
    DeadlineExceeded,
    Expired,
    Forbidden,
    InvalidRequest,
    KeyReused,
    Misuse,
    ModelNotFound,
    NoAnswer,
    NotFound,
    NtmClientError,
    PointNotKept,
    QuotaReached,
    RevisionMismatch,
    RowsDiffer,
    ServerError,
    SessionExists,
    SessionNotFound,
    SnapshotExists,
    SpecMismatch,
    StepGap,
    StoreRolledBack,
    TimedOut,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from service.client.row_stream import RowStream
from service.client.session import Session
from service.client.session_core import Position

__all__ = [
    "ApiError", "AsyncClient", "AsyncRowStream", "AsyncSession", "BadAnswer", "Client",
    "CommitUnknown", "Conflict", "DeadlineExceeded", "Event", "Expired", "Forbidden",
    "HistoryEntry", "InvalidRequest", "KeyReused", "Memory", "Misuse", "Model", "ModelNotFound",
    "Moved", "NamedTensor", "NoAnswer", "NotFound", "NtmClientError", "PointNotKept", "Position",
    "QuotaReached", "Retries", "RevisionMismatch", "RowStream", "RowsDiffer", "ServerError",
    "Session", "SessionExists", "SessionInfo", "SessionNotFound", "Snapshot", "SnapshotExists",
    "SpecMismatch", "StepGap", "Stepped", "StoreRolledBack", "TimedOut", "TooLarge", "TooMany",
    "Unauthenticated", "Unavailable",
]  # fmt: skip
