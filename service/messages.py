"""What front and engine say to each other: one msgpack array a message, many messages a frame.

A frame is a 4-byte little-endian length and that many bytes: a msgpack array of `Call`s towards
the engine, of `Reply`s back. Tensors travel as raw little-endian float32 bytes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from export.bundle import Manifest


class Guard(msgspec.Struct, frozen=True, array_like=True):
    """What a mutation is conditional on."""

    key: str | None = None  # Idempotency-Key
    fingerprint: bytes = b""  # of method, path and body; the same key with another one is 422
    if_match: str | None = None  # an ETag, "<incarnation>-<revision>"


class ListModels(msgspec.Struct, frozen=True, array_like=True, tag="models"):
    """The loaded models. Result: `list[ModelInfo]`."""


class Health(msgspec.Struct, frozen=True, array_like=True, tag="health"):
    """Is every model warmed? Result: `HealthInfo`."""


class Metrics(msgspec.Struct, frozen=True, array_like=True, tag="metrics"):
    """The engine's metrics. Result: bytes, the Prometheus text exposition."""


class Create(msgspec.Struct, frozen=True, array_like=True, tag="create"):
    """Begin a session. Result: `SessionInfo`."""

    tenant: str
    model: str
    version: str | None  # None: the newest
    session: str | None  # None: the engine draws an id
    idle_ttl_s: float | None  # None: the setting's
    state: dict[str, bytes] | None  # initial state overrides by tensor name
    guard: Guard


class Steps(msgspec.Struct, frozen=True, array_like=True, tag="steps"):
    """Run rows (T, X) through a session. Result: `StepsResult`."""

    tenant: str
    session: str
    rows: bytes
    dims: tuple[int, int]
    trace: bool
    guard: Guard


class Predict(msgspec.Struct, frozen=True, array_like=True, tag="predict"):
    """Run rows (T, X) from fresh state and forget it. Result: `PredictResult`."""

    tenant: str
    model: str
    version: str | None
    rows: bytes
    dims: tuple[int, int]


class Describe(msgspec.Struct, frozen=True, array_like=True, tag="describe"):
    """Result: `SessionInfo`."""

    tenant: str
    session: str


class ListSessions(msgspec.Struct, frozen=True, array_like=True, tag="list"):
    """A page of a tenant's sessions, by id, after `cursor`. Result: `SessionPage`."""

    tenant: str
    limit: int
    cursor: str | None
    model: str | None


class Memory(msgspec.Struct, frozen=True, array_like=True, tag="memory"):
    """The committed state. Result: `StateResult`."""

    tenant: str
    session: str


class Delete(msgspec.Struct, frozen=True, array_like=True, tag="delete"):
    """End a session. Result: None."""

    tenant: str
    session: str
    guard: Guard


Request = (
    ListModels
    | Health
    | Metrics
    | Create
    | Steps
    | Predict
    | Describe
    | ListSessions
    | Memory
    | Delete
)


class Call(msgspec.Struct, frozen=True, array_like=True):
    """One request. `timeout_s` is what is left of its deadline; `cancel` names an earlier call
    whose client has gone, and then `request` is None."""

    number: int
    request: Request | None
    timeout_s: float = 0.0
    cancel: int = 0
    request_id: str = ""


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """An error by its stable code (service/errors.py), with what the answer should tell."""

    code: str
    detail: str
    extra: dict[str, Any] = {}


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """The one answer to the call of that number: a msgpack-encoded result, or a failure."""

    number: int
    result: msgspec.Raw = msgspec.Raw(b"\xc0")
    failure: Failure | None = None


class ModelInfo(msgspec.Struct, frozen=True):
    """A loaded bundle and what runs it."""

    manifest: Manifest
    fingerprint: str
    runtime: str
    device: str
    batch_multiple: int  # batches are padded to a multiple of this
    max_batch: int
    slots: int


class HealthInfo(msgspec.Struct, frozen=True):
    """`reason` says what is missing where not ready."""

    ready: bool
    reason: str = ""


class SessionInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """A session as its owner sees it. Times are Unix seconds."""

    id: str
    model: str
    version: str
    step: int
    revision: int
    incarnation: str
    created_at: float
    committed_at: float
    expires_at: float
    tier: str  # "device", "host" or "store"
    state_bytes: int
    forked_from: str | None = None


class SessionPage(msgspec.Struct, frozen=True):
    """`cursor` is None on the last page."""

    sessions: list[SessionInfo]
    cursor: str | None


class StateTensor(msgspec.Struct, frozen=True):
    """One named tensor, raw little-endian."""

    name: str
    role: str
    dims: tuple[int, ...]
    data: bytes


class StepsResult(msgspec.Struct, frozen=True):
    """Outputs (T, Y) and where the session stands now. A trace tensor is (T, *dims)."""

    outputs: bytes
    dims: tuple[int, int]
    step: int
    revision: int
    incarnation: str
    trace: list[StateTensor] | None = None
    replayed: bool = False


class PredictResult(msgspec.Struct, frozen=True):
    """Outputs (T, Y)."""

    outputs: bytes
    dims: tuple[int, int]


class StateResult(msgspec.Struct, frozen=True):
    """The committed state after `step` rows."""

    step: int
    revision: int
    incarnation: str
    tensors: list[StateTensor]
