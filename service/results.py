"""What the engine answers: the results that the docstrings of service/requests.py name."""

from __future__ import annotations

from typing import Any

import msgspec

from export.bundle import Manifest


class ModelInfo(msgspec.Struct, frozen=True):
    """A loaded bundle and what runs it."""

    manifest: Manifest
    fingerprint: str
    runtime: str
    device: str
    batch_multiple: int  # batches are padded to a multiple of this
    max_batch: int
    slots: int
    runtime_reason: str = ""  # why this runtime


class Spent(msgspec.Struct, frozen=True):
    """How often something was done, and the nanoseconds it took in all."""

    count: int
    ns: int


class ModelStatistics(msgspec.Struct, frozen=True):
    """What a model has done since it was loaded. Only requests that came to a model count."""

    name: str
    version: str
    last_ms: int  # Unix milliseconds of the last request; 0: none yet
    rows: int
    executions: int  # of the model: one has a row of each request in its batch
    success: Spent  # requests
    fail: Spent
    queue: Spent  # from a request's admission to its first batch
    infer: Spent  # executions, gather and scatter included
    batches: dict[int, Spent]  # executions by the requests in them


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
    replayed: bool = False


class SessionPage(msgspec.Struct, frozen=True):
    """`cursor` is None on the last page."""

    sessions: list[SessionInfo]
    cursor: str | None


class StateTensor(msgspec.Struct, frozen=True, gc=False):
    """One named tensor, raw little-endian."""

    name: str
    role: str
    dims: tuple[int, ...]
    data: bytes


class StepsResult(msgspec.Struct, frozen=True, gc=False):
    """Outputs (T, Y) and where the session stands now. A trace tensor is (T, *dims)."""

    outputs: bytes
    dims: tuple[int, int]
    step: int
    revision: int
    incarnation: str
    trace: list[StateTensor] | None = None
    replayed: bool = False
    session: str = ""
    version: str = ""  # of the model, as the session runs on now


class PredictResult(msgspec.Struct, frozen=True, gc=False):
    """Outputs (T, Y)."""

    outputs: bytes
    dims: tuple[int, int]
    version: str = ""  # of the model


class Moved(msgspec.Struct, frozen=True):
    """Where a mutation that is no step left the session."""

    step: int
    revision: int
    incarnation: str
    version: str
    replayed: bool = False


class SnapshotInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """A kept point. `created_at` is in Unix seconds."""

    name: str
    step: int
    revision: int
    created_at: float
    replayed: bool = False


class HistoryRecord(msgspec.Struct, frozen=True):
    """A mutation: rows (count, X) and outputs (count, Y), empty where it was no step."""

    kind: str
    revision: int
    step: int
    count: int
    rows: bytes
    outputs: bytes


class UsageInfo(msgspec.Struct, frozen=True):
    """A tenant's live sessions, and the bytes of their states, one a session."""

    sessions: int
    state_bytes: int


class HistoryPage(msgspec.Struct, frozen=True):
    """`before` asks for the next page; None on the last."""

    input_size: int
    output_size: int
    records: list[HistoryRecord]
    before: int | None


class TraceResult(msgspec.Struct, frozen=True):
    """What T rows came to, run again. step: consumed with the first of them.

    revisions: of each row's record. A state tensor is (T + 1, *dims): before the first row, then
    after each; a trace tensor (T, *dims).
    """

    incarnation: str
    version: str
    step: int
    revisions: list[int]
    inputs: StateTensor
    outputs: StateTensor
    state: list[StateTensor]
    trace: list[StateTensor]


class StateResult(msgspec.Struct, frozen=True):
    """The committed state after `step` rows. spec: the fingerprint of the state spec."""

    model: str
    version: str
    spec: str
    step: int
    revision: int
    incarnation: str
    tensors: list[StateTensor]


class Notice(msgspec.Struct, frozen=True, array_like=True):
    """What happened to a session and raised no revision. number: rises with each that is told."""

    kind: str  # "forked", "snapshotted" or "evicted"
    revision: int  # where the session stood
    number: int
    facts: dict[str, Any]


class WatchedRecord(msgspec.Struct, frozen=True):
    """A mutation as a watcher is told it; of a step with the tensors he asked for."""

    record: HistoryRecord
    tensors: list[StateTensor] | None


class Watched(msgspec.Struct, frozen=True):
    """Records, oldest first, and notices; then where the session stands.

    ended: how, where it has: then there is nothing else.
    """

    incarnation: str
    revision: int
    records: list[WatchedRecord]
    notices: list[Notice]
    seen: int
    ended: str | None
