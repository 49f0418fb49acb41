"""What calls give back. Numbers are numpy arrays, times Unix seconds."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class SessionInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a session stands. step: rows consumed; revision: mutations."""

    id: str
    model: str
    version: str
    step: int
    revision: int
    incarnation: str
    created_at: float
    committed_at: float
    expires_at: float
    tier: str  # where its state is: "device", "host" or "store"
    state_bytes: int
    forked_from: str | None = None

    @property
    def etag(self) -> str:
        """What If-Match takes."""
        return f'"{self.incarnation}-{self.revision}"'


class Model(msgspec.Struct, frozen=True):
    """A loaded model and what runs it. input_dims (X,), output_dims (Y,)."""

    name: str
    version: str
    family: str
    task: str
    runtime: str
    device: str
    input_dims: tuple[int, ...]
    output_dims: tuple[int, ...]
    batch_multiple: int
    max_batch: int
    slots: int
    fingerprint: str
    runtime_reason: str = ""


class NamedTensor(NamedTuple):
    """A tensor with what it is for. array: float32 or int64; in a trace the first axis is rows."""

    name: str
    role: str
    array: NDArray[Any]


class Stepped(NamedTuple):
    """outputs (T, Y). trace: what was asked for, by row; None where it was not, and on a repeat
    (`replayed`), since what the heads did is not kept."""

    outputs: Floats
    step: int
    revision: int
    trace: dict[str, NamedTensor] | None = None
    replayed: bool = False


class Memory(msgspec.Struct, frozen=True, eq=False):
    """A session's whole state after `step` rows, by name and in the order of its spec."""

    step: int
    revision: int
    tensors: dict[str, NamedTensor]

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The array of a name."""
        return self.tensors[name].array

    def of_role(self, role: str) -> list[NamedTensor]:
        """The tensors of a role, like "memory" or "read_weights"."""
        return [tensor for tensor in self.tensors.values() if tensor.role == role]


class Moved(msgspec.Struct, frozen=True):
    """Where a reset, restore, import or migration left the session."""

    step: int
    revision: int
    version: str


class Snapshot(msgspec.Struct, frozen=True):
    """A kept point."""

    name: str
    step: int
    revision: int
    created_at: float


class HistoryEntry(NamedTuple):
    """What was done; after it the session stood there. Of a step with inputs (T, X), outputs."""

    kind: str
    step: int
    revision: int
    inputs: Floats | None
    outputs: Floats | None


class Event(NamedTuple):
    """What happened to a session. id: goes on behind it as `after`; None where it has none.

    data: as service/README.md lists it, inputs and outputs as arrays, weights and usage as
    NamedTensors by name.
    """

    name: str
    data: dict[str, Any]
    id: str | None
