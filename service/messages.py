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


class Reset(msgspec.Struct, frozen=True, array_like=True, tag="reset"):
    """Back to the initial state and step 0. Result: `Moved`."""

    tenant: str
    session: str
    guard: Guard


class Point(msgspec.Struct, frozen=True, array_like=True):
    """A point of a session's past; all None: where it stands now."""

    step: int | None = None
    revision: int | None = None
    snapshot: str | None = None


class Restore(msgspec.Struct, frozen=True, array_like=True, tag="restore"):
    """Back to a kept point. Result: `Moved`."""

    tenant: str
    session: str
    point: Point
    guard: Guard


class Fork(msgspec.Struct, frozen=True, array_like=True, tag="fork"):
    """A new session that goes on from a point of this one. Result: `SessionInfo`."""

    tenant: str
    session: str
    point: Point
    id: str | None  # of the new session; None: the engine draws one
    idle_ttl_s: float | None
    guard: Guard


class Snapshot(msgspec.Struct, frozen=True, array_like=True, tag="snapshot"):
    """Keep where the session stands, by name. Result: `SnapshotInfo`."""

    tenant: str
    session: str
    name: str | None
    guard: Guard


class ListSnapshots(msgspec.Struct, frozen=True, array_like=True, tag="snapshots"):
    """Result: `list[SnapshotInfo]`, oldest first."""

    tenant: str
    session: str


class History(msgspec.Struct, frozen=True, array_like=True, tag="history"):
    """Kept records, newest first, those before a revision. Result: `HistoryPage`."""

    tenant: str
    session: str
    before: int | None
    limit: int


class Import(msgspec.Struct, frozen=True, array_like=True, tag="import"):
    """Put a whole state in place, as `Memory` gave it. Result: `Moved`."""

    tenant: str
    session: str
    spec: str  # fingerprint of the state spec that the tensors were taken under
    step: int | None  # None: the session's own
    tensors: dict[str, bytes]
    guard: Guard


class Migrate(msgspec.Struct, frozen=True, array_like=True, tag="migrate"):
    """Go on with another version of the model. Result: `Moved`."""

    tenant: str
    session: str
    version: str
    guard: Guard


class Reload(msgspec.Struct, frozen=True, array_like=True, tag="reload"):
    """Load the bundles that are new under NTM_MODELS. Result: `list[ModelInfo]`, the new ones."""


class Unload(msgspec.Struct, frozen=True, array_like=True, tag="unload"):
    """Serve a version no longer. Refused while it has live sessions, unless `force`. Result: None.

    The sessions stay in the store and answer `model_not_loaded` until it is loaded again.
    """

    model: str
    version: str
    force: bool


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
    | Reset
    | Restore
    | Fork
    | Snapshot
    | ListSnapshots
    | History
    | Import
    | Migrate
    | Reload
    | Unload
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


class Moved(msgspec.Struct, frozen=True):
    """Where a mutation that is no step left the session."""

    step: int
    revision: int
    incarnation: str
    version: str
    replayed: bool = False


class SnapshotInfo(msgspec.Struct, frozen=True):
    """A kept point. `created_at` is in Unix seconds."""

    name: str
    step: int
    revision: int
    created_at: float


class HistoryRecord(msgspec.Struct, frozen=True):
    """A mutation: rows (count, X) and outputs (count, Y), empty where it was no step."""

    kind: str
    revision: int
    step: int
    count: int
    rows: bytes
    outputs: bytes


class HistoryPage(msgspec.Struct, frozen=True):
    """`before` asks for the next page; None on the last."""

    input_size: int
    output_size: int
    records: list[HistoryRecord]
    before: int | None


class StateResult(msgspec.Struct, frozen=True):
    """The committed state after `step` rows. spec: the fingerprint of the state spec."""

    model: str
    version: str
    spec: str
    step: int
    revision: int
    incarnation: str
    tensors: list[StateTensor]
