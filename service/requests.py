"""What a front asks of the engine: one struct a question, told apart on the wire by its tag.

Tensors travel as raw little-endian float32 bytes. service/results.py has the answers.
"""

from __future__ import annotations

import msgspec

URGENCY = 3  # of a request that says none: 0 is served first, 7 last (service/urgency.py)


class Guard(msgspec.Struct, frozen=True, gc=False, array_like=True):
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


class Steps(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="steps"):
    """Run rows (T, X) through a session. Result: `StepsResult`."""

    tenant: str
    session: str
    rows: bytes
    dims: tuple[int, int]
    trace: bool
    guard: Guard
    ends: bool = False  # the session ends with these rows
    urgency: int = URGENCY


class Sequence(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="sequence"):
    """Run rows of a sequence: the session that `steps` names, which `start` begins anew.

    Result: `StepsResult`.
    """

    steps: Steps
    model: str
    version: str | None  # None: its own, or the newest where it starts
    name: str  # for people
    also: str | None  # a session of the model that it goes on with where it was never started
    start: bool


class Predict(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="predict"):
    """Run rows (T, X) from fresh state and forget it. Result: `PredictResult`."""

    tenant: str
    model: str
    version: str | None
    rows: bytes
    dims: tuple[int, int]
    urgency: int = URGENCY


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


class Trace(msgspec.Struct, frozen=True, array_like=True, tag="trace"):
    """What the network did in kept rows, which are run again. Result: `TraceResult`.

    revision: of the last record to tell of; None: where the session stands. step: of its last row
    to tell of; None: all. rows: at most so many, those that led there without a break.
    roles: of the tensors to tell; none: all.
    """

    tenant: str
    session: str
    revision: int | None
    step: int | None
    rows: int
    roles: tuple[str, ...] = ()


class Given(msgspec.Struct, frozen=True, array_like=True):
    """A tensor that a file brought, and what the file says it is. data: raw little-endian."""

    dtype: str
    dims: tuple[int, ...]
    data: bytes


class Import(msgspec.Struct, frozen=True, array_like=True, tag="import"):
    """Put a whole state in place, as `Memory` gave it. Result: `Moved`."""

    tenant: str
    session: str
    spec: str  # fingerprint of the state spec that the tensors were taken under
    step: int | None  # None: the session's own
    tensors: dict[str, Given]
    guard: Guard


class Migrate(msgspec.Struct, frozen=True, array_like=True, tag="migrate"):
    """Go on with another version of the model. Result: `Moved`."""

    tenant: str
    session: str
    version: str
    guard: Guard


class Usage(msgspec.Struct, frozen=True, array_like=True, tag="usage"):
    """What a tenant's live sessions come to. Result: `UsageInfo`."""

    tenant: str


class Statistics(msgspec.Struct, frozen=True, array_like=True, tag="statistics"):
    """What each loaded model has done so far. Result: `list[ModelStatistics]`."""


class Reload(msgspec.Struct, frozen=True, array_like=True, tag="reload"):
    """Load the bundles that are new under NTM_MODELS. Result: `list[ModelInfo]`, the new ones."""

    model: str | None = None  # only this model's


class Unload(msgspec.Struct, frozen=True, array_like=True, tag="unload"):
    """Serve a version no longer. Refused while it has live sessions, unless `force`. Result: None.

    The sessions stay in the store and answer `model_not_loaded` until it is loaded again.
    """

    model: str
    version: str | None  # None: all of them
    force: bool


class Watch(msgspec.Struct, frozen=True, array_like=True, tag="watch"):
    """What was done to a session after a revision, waited for. Result: `Watched`.

    after: incarnation and revision; None is where it stands, which is answered at once.
    seen: the last notice that was told; None passes over those there are.
    """

    tenant: str
    session: str
    after: tuple[str, int] | None
    seen: int | None
    wait_s: float
    rows: bool = False  # tell inputs and outputs of steps too
    roles: tuple[str, ...] = ()  # tell the tensors of these roles too, as they are after a step


Request = (
    ListModels
    | Health
    | Metrics
    | Create
    | Steps
    | Sequence
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
    | Trace
    | Import
    | Migrate
    | Reload
    | Unload
    | Statistics
    | Usage
    | Watch
)
