"""The bodies of /v1: what requests bring and answers say. Clients are written against it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from export.bundle import NAME_PATTERN, FileEntry
from model.state import StateSpec, TensorSpec
from service.engine.sessions import ID_PATTERN, RESERVED
from service.results import SnapshotInfo

# What only the OpenAPI document says; handlers and engine check it, with codes of their own.
SOME = Meta(extra_json_schema={"minItems": 1})
FLOAT32 = Meta(extra_json_schema={"minimum": -3.4028235e38, "maximum": 3.4028235e38})
NAME = Meta(extra_json_schema={"pattern": f"^{NAME_PATTERN.pattern}$"})
ID = Meta(extra_json_schema={"pattern": f"^{ID_PATTERN.pattern}$"})
NEW_ID = Meta(extra_json_schema={"pattern": f"^(?!{RESERVED}){ID_PATTERN.pattern}$"})

MAX_INTEGER = (1 << 53) - 1  # the largest that every reader of JSON tells from the next
Size = Annotated[int, Meta(le=(1 << 63) - 1)]  # of one dimension, so that a product stays small
Step = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
Revision = Annotated[int, Meta(ge=1, le=MAX_INTEGER)]
TtlS = Annotated[float, Meta(gt=0, le=366 * 86_400)]
Row = Annotated[list[Annotated[float, FLOAT32]], SOME]


class Tensor(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Numbers as they lie in memory: how MessagePack has rows and states. In JSON: base64."""

    dims: tuple[Size, ...]
    data: bytes  # little-endian float32, row-major


Rows = Annotated[
    Annotated[list[Row], SOME] | Tensor,
    Meta(description="Rows of X numbers each, in order: (T, X)."),
]
OutRows = list[tuple[float, ...]] | Tensor  # a Tensor in MessagePack


# As many levels as a state tensor may have axes (export.manifest.MAX_AXES), and no more.
_L1 = list[float]
_L2 = list[float | _L1]
_L3 = list[float | _L2]
_L4 = list[float | _L3]
_L5 = list[float | _L4]
_L6 = list[float | _L5]
_L7 = list[float | _L6]
Numbers = list[float | _L7]


class CreateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A session to begin. Every field may be left out, and so may the body."""

    id: Annotated[str, NEW_ID] | None = None  # drawn where it is not given
    version: Annotated[str, NAME] | None = None  # the newest where it is not given
    idle_ttl_s: TtlS | None = None
    state: dict[str, Numbers | Tensor] | None = None  # initial tensors by name, nested or flat


class StepsBody(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Rows for a session, one or many."""

    inputs: Rows
    trace: bool = False


class PredictBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole sequence, from fresh state."""

    inputs: Rows
    version: Annotated[str, NAME] | None = None


class TensorView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A named tensor, flat and row-major: in JSON a list, where a number that is not finite is
    null; in MessagePack raw little-endian bytes."""

    name: str
    role: str
    dims: tuple[int, ...]
    data: list[float] | bytes
    dtype: str = "float32"


class StepsAnswer(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One output row for each input row, and where the session stands now.

    Each tensor of the trace has the rows as its first dimension.
    """

    outputs: OutRows
    step: int
    revision: int
    trace: list[TensorView] | None = None


class PredictAnswer(msgspec.Struct, frozen=True):
    """One output row for each input row."""

    outputs: OutRows


class MemoryAnswer(msgspec.Struct, frozen=True):
    """The committed state after `step` rows."""

    step: int
    revision: int
    state: list[TensorView]


class ModelSummary(msgspec.Struct, frozen=True):
    """A loaded model and what runs it."""

    name: str
    version: str
    family: str
    task: str
    runtime: str
    runtime_reason: str
    device: str
    input_dims: tuple[int, ...]
    output_dims: tuple[int, ...]
    batch_multiple: int
    max_batch: int
    slots: int
    fingerprint: str


class ModelDetail(msgspec.Struct, frozen=True):
    """A loaded model's manifest, and what runs it."""

    name: str
    version: str
    family: str
    task: str
    runtime: str
    runtime_reason: str
    device: str
    batch_multiple: int
    max_batch: int
    slots: int
    fingerprint: str
    format: int
    input: TensorSpec
    output: TensorSpec
    state: StateSpec
    trace: StateSpec
    form: dict[str, Any]
    files: dict[str, FileEntry]
    parity: dict[str, float]
    drift: dict[str, float]
    card: dict[str, Any]


class ModelList(msgspec.Struct, frozen=True):
    """Every loaded model."""

    models: list[ModelSummary]


class TenantLimits(msgspec.Struct, frozen=True):
    """What a tenant may have and do: NTM_TENANT_*."""

    sessions: int
    state_bytes: int
    requests_s: float
    streams: int
    queue_share: float


class TenantAnswer(msgspec.Struct, frozen=True):
    """Who asks, and what his live sessions come to. Without keys there are no limits of a tenant,
    and everybody is `default`."""

    tenant: str
    scopes: list[str]
    sessions: int
    state_bytes: int
    limits: TenantLimits | None


class Live(msgspec.Struct, frozen=True):
    """The front process answers."""

    live: bool


class Ready(msgspec.Struct, frozen=True):
    """Every model is loaded and warmed."""

    ready: bool


class PointBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kept point of a session: exactly one of the three."""

    step: Step | None = None  # the latest time it stood there
    revision: Revision | None = None
    snapshot: Annotated[str, ID] | None = None


class ForkBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the new session begins: at most one of the three points, else where this one stands."""

    id: Annotated[str, NEW_ID] | None = None  # drawn where it is not given
    idle_ttl_s: TtlS | None = None  # else this one's
    step: Step | None = None
    revision: Revision | None = None
    snapshot: Annotated[str, ID] | None = None


class SnapshotBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A point to keep, by a name; drawn where it is not given."""

    name: Annotated[str, ID] | None = None


class MigrateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The version of its model that a session is to go on with."""

    version: Annotated[str, NAME]


class EmptyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to say. The body may be left out."""


class MovedAnswer(msgspec.Struct, frozen=True):
    """Where the session stands now."""

    step: int
    revision: int
    version: str


class SnapshotList(msgspec.Struct, frozen=True):
    """The kept points of a session, oldest first."""

    snapshots: list[SnapshotInfo]


class HistoryEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was done: after it the session stood at `step` and `revision`.

    inputs and outputs are a step's rows, as they were sent and answered.
    """

    kind: str
    step: int
    revision: int
    inputs: OutRows | None = None
    outputs: OutRows | None = None


class TraceAnswer(msgspec.Struct, frozen=True):
    """What kept rows came to, run again, oldest first. step: consumed with the first of them.

    revisions: of each row. Each tensor has the rows as its first dimension, a state's one more: as
    it was before them.
    """

    incarnation: str
    version: str
    step: int
    revisions: list[int]
    inputs: TensorView
    outputs: TensorView
    state: list[TensorView]
    trace: list[TensorView]


class HistoryAnswer(msgspec.Struct, frozen=True):
    """A page of what was done, newest first. The cursor, given back, brings the next page."""

    history: list[HistoryEntry]
    cursor: int | None
