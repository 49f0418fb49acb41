"""What a store of sessions promises, and the values it deals in.

A session is a small row, the records of what was done to it, and now and then a checkpoint of its
state. Every mutation is one `Change`, compared and written whole: a change that expects another
incarnation or revision than the stored one is `Stale` and writes nothing, and never fails the
changes committed with it.

gc=False: the collector need not look at structs of which there are many and which no cycle can go
through; a store in memory keeps millions, and looking through them stopped the engine for 100 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec


class SessionKey(NamedTuple):
    """Who owns a session, and its name there."""

    tenant: str
    id: str


class SessionRow(msgspec.Struct, frozen=True, gc=False):
    """Where a session stands. Times are Unix seconds."""

    tenant: str
    id: str
    model: str
    version: str
    fingerprint: str  # of the bundle's manifest
    incarnation: str  # random, drawn at creation
    revision: int  # mutations so far, the creation included
    step: int  # rows consumed
    created_at: float
    committed_at: float
    idle_ttl_s: float
    forked_from: str | None = None

    @property
    def key(self) -> SessionKey:
        """The session's key."""
        return SessionKey(self.tenant, self.id)

    @property
    def expires_at(self) -> float:
        """When an idle session ends: its TTL counts from its last commit."""
        return self.committed_at + self.idle_ttl_s


class Record(msgspec.Struct, frozen=True, gc=False):
    """One acknowledged mutation and its reply.

    A step's rows and outputs are raw float32, row-major. Another mutation of an existing session
    tells in `rows` the version and the bundle's fingerprint that it left, in `outputs` the version
    it came to.
    """

    kind: str  # "create", "step", "reset", "restore", "import" or "migrate"
    revision: int  # after it
    step: int  # after it
    rows: bytes = b""
    outputs: bytes = b""
    count: int = 0  # rows
    key: str | None = None
    fingerprint: bytes = b""


class Checkpoint(msgspec.Struct, frozen=True, gc=False):
    """The whole state after `step` rows: its tensors' bytes one after the other, in spec order.

    state: None stands for the bundle's initial state. name: a snapshot's, which is kept until
    its session ends; other checkpoints are thinned out. key and fingerprint: of the request that
    made a snapshot, as in a `Record`.
    """

    revision: int
    step: int
    state: bytes | None
    name: str | None = None
    created_at: float = 0.0
    key: str | None = None
    fingerprint: bytes = b""


class Change(msgspec.Struct, frozen=True, gc=False):
    """A session's new row and what comes with it.

    expected: (incarnation, revision) that must be stored; None: no such session may exist.
    A change that keeps the revision only adds its checkpoint; one of a snapshot's name, or without
    a name of a revision, that is there already stays as it was, and the change is Committed all the
    same.
    ended: why, which leaves a tombstone with it and nothing else; a record beside it is not kept,
    and its key is looked up like any other's.
    """

    row: SessionRow
    expected: tuple[str, int] | None
    record: Record | None = None
    checkpoint: Checkpoint | None = None
    ended: str | None = None


class Committed(NamedTuple):
    """The change is in the store."""


class Replayed(NamedTuple):
    """The change's key was used before: this was the reply. Nothing was written."""

    record: Record


class Stale(NamedTuple):
    """Another revision is stored. Nothing was written."""

    row: SessionRow


class Gone(NamedTuple):
    """No such session, or one that has ended for this reason. Nothing was written."""

    reason: str | None


class Damaged(NamedTuple):
    """What is stored of this session does not match its checksum, or cannot be read."""

    detail: str


Outcome = Committed | Replayed | Stale | Gone | Damaged


class Stored(NamedTuple):
    """A session at one point: the state is the checkpoint's plus `records`, in order, after it.

    replies: the latest records with a key, for repeats.
    """

    row: SessionRow
    checkpoint: Checkpoint
    records: list[Record]
    replies: list[Record]


class Retention(msgspec.Struct, frozen=True):
    """What a store keeps of each session beside its newest state.

    A record is kept at least while it is after the newest checkpoint, or among the last `replies`
    with a key, or within the last `history_rows` rows or on the way to them from the checkpoint
    before; checkpoints so that each row of the history can be rebuilt, one in
    `checkpoint_spacing` rows. What falls out goes in time, where a checkpoint is written.
    """

    replies: int = 16
    history_rows: int = 1000
    checkpoint_spacing: int = 128
    tombstone_s: float = 86_400.0


class Room(msgspec.Struct, frozen=True):
    """Bytes that a store takes up, those that are left to it, and those that there are of them.

    None where nothing sets a limit.
    """

    used: int
    free: int | None = None
    limit: int | None = None


class StoreUnavailable(Exception):
    """The store cannot be reached. `sent`: a commit may have happened all the same."""

    def __init__(self, detail: str, sent: bool = False) -> None:
        super().__init__(detail)
        self.sent = sent


Heard = Callable[[SessionKey, bytes], None]  # no bytes: it may have moved


class Bell(Protocol):
    """Wakes those who wait for what other servers do. Nothing rests on it: a ring may get lost
    where the connection does, and then whoever follows is woken when it is back."""

    def follow(self, key: SessionKey, heard: Heard) -> None:
        """Call `heard` whenever a session may have moved, and with whatever is told of it."""
        ...

    def unfollow(self, key: SessionKey) -> None:
        """Call nobody any more."""
        ...

    def ring(self, key: SessionKey, told: bytes) -> None:
        """Tell something to whoever follows the session, this server too."""
        ...


class Store(Protocol):
    """Sessions that outlive their slot. Every call is atomic a session; none blocks the loop.

    shared: other servers may write to it too, so what an engine holds can be out of date.
    Every method may raise StoreUnavailable.
    """

    name: str
    shared: bool

    @property
    def bell(self) -> Bell | None:
        """Tells of what other servers do, a commit by itself. None where there are none."""
        ...

    async def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        """Write each change whole or not at all; one outcome each, in order.

        A change's key is looked up before its expectation, among the last `Retention.replies`
        records with a key. Returns when the configured durability point is reached.
        """
        ...

    async def load(self, key: SessionKey) -> Stored | Gone | Damaged:
        """A session with its newest checkpoint and the records after it."""
        ...

    async def row(self, key: SessionKey) -> SessionRow | Gone | Damaged:
        """Where a session stands, and no more."""
        ...

    async def at(
        self,
        key: SessionKey,
        *,
        step: int | None = None,
        revision: int | None = None,
        snapshot: str | None = None,
    ) -> Stored | Gone | Damaged | None:
        """An earlier point of a session: the nearest kept checkpoint and the records from it on.

        By snapshot; or by revision; or by step, which means the latest time the session stood
        there or passed it in a request of several rows. The last record may lead past the step.
        `row` is the session's present one. None where that point is not kept.
        """
        ...

    async def history(
        self, key: SessionKey, before: int | None, limit: int
    ) -> list[Record] | Gone | Damaged:
        """Kept records, newest first, those of a revision under `before`; at most `limit`."""
        ...

    async def snapshots(self, key: SessionKey) -> list[Checkpoint] | Gone | Damaged:
        """The session's snapshots, oldest first, without their state's bytes."""
        ...

    async def rows(
        self, tenant: str, after: str | None, limit: int, model: str | None
    ) -> list[SessionRow]:
        """A tenant's live sessions in order of id, from the one behind `after`."""
        ...

    async def expired(self, now: float, limit: int) -> list[SessionRow]:
        """Sessions past their TTL and not ended yet."""
        ...

    async def count(self, model: tuple[str, str] | None = None) -> int:
        """Live sessions, of one model and version where named."""
        ...

    async def usage(self, tenant: str) -> dict[tuple[str, str], int]:
        """A tenant's live sessions, by model and version."""
        ...

    async def tenants(self) -> list[str]:
        """Everybody who has live sessions, and perhaps some who had."""
        ...

    async def room(self) -> Room | None:
        """How full the store is. None where it has no place of its own."""
        ...

    async def close(self) -> None:
        """Write out what is not, and let go of the store."""
        ...
