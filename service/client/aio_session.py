"""A session as `AsyncClient` gives it: `session.py` once more, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import TYPE_CHECKING, Unpack

from service.client import watch
from service.client.aio_stream import AsyncRowStream
from service.client.answers import (
    Event,
    HistoryEntry,
    Memory,
    Moved,
    SessionInfo,
    Snapshot,
    Stepped,
)
from service.client.backoff import Retries
from service.client.codec import Rows
from service.client.core import Options, ReadOptions
from service.client.errors import Expired, NotFound, NtmClientError
from service.client.exchange import Flow
from service.client.pipeline import WINDOW_ROWS
from service.client.session_core import Position, SessionCore

if TYPE_CHECKING:
    from service.client.aio import AsyncClient


class AsyncSession:
    """A handle on one session. Its mutations run one after another, also of several tasks.

    Each is conditional on where this handle last saw the session: where somebody else moved it,
    RevisionMismatch; `info()` looks again, and `if_match="*"` does not care.
    """

    def __init__(self, client: AsyncClient, info: SessionInfo, keep: bool) -> None:
        self._client, self.core = client, SessionCore(client.core, info)
        self.keep = keep
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> AsyncSession:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self.keep:
            return
        try:
            # Whoever moved it meanwhile: it ends here. After a failure it is tried but once.
            once: ReadOptions = {} if error is None else {"retries": Retries(0)}
            await self.delete(if_match="*", **once)
        except (NotFound, Expired):
            return
        except NtmClientError as failed:
            if error is None:
                raise
            error.add_note(f"and session {self.id!r} could not be deleted: {failed}")

    def __repr__(self) -> str:
        return f"<AsyncSession {self.id} of {self.model} {self.version}, step {self.position.step}>"

    @property
    def id(self) -> str:
        """Its id."""
        return self.core.id

    @property
    def model(self) -> str:
        """Its model's name."""
        return self.core.model

    @property
    def version(self) -> str:
        """Its model's version."""
        return self.core.version

    @property
    def position(self) -> Position:
        """Where this handle last saw it."""
        return self.core.position

    async def info(self, **options: Unpack[ReadOptions]) -> SessionInfo:
        """Where it stands now, which this handle goes on from."""
        async with self._turn:
            return await self._client.run(self.core.info(**options))

    async def step(self, rows: Rows, *, trace: bool = False, **options: Unpack[Options]) -> Stepped:
        """Rows (T, X), or one row (X,), in; outputs (T, Y) out. All are committed, or none."""
        async with self._turn:
            return await self._client.run(self.core.step(rows, trace, **options))

    async def memory(self, **options: Unpack[ReadOptions]) -> Memory:
        """Its whole committed state."""
        return await self._client.run(self.core.memory(**options))

    async def reset(self, **options: Unpack[Options]) -> Moved:
        """Back to the initial state and step 0. This too can be undone, by `restore`."""
        async with self._turn:
            return await self._client.run(self.core.reset(**options))

    async def restore(
        self,
        *,
        step: int | None = None,
        revision: int | None = None,
        snapshot: str | None = None,
        **options: Unpack[Options],
    ) -> Moved:
        """Back to one of the three: a step, a revision, a snapshot."""
        async with self._turn:
            return await self._client.run(self.core.restore(step, revision, snapshot, **options))

    async def migrate(self, version: str, **options: Unpack[Options]) -> Moved:
        """On to another loaded version of its model."""
        async with self._turn:
            return await self._client.run(self.core.migrate(version, **options))

    async def export_state(self, **options: Unpack[ReadOptions]) -> bytes:
        """Its state as a safetensors file."""
        return await self._client.run(self.core.export_state(**options))

    async def import_state(self, data: bytes, **options: Unpack[Options]) -> Moved:
        """Put a state in place that `export_state` gave, of a session of the same make."""
        async with self._turn:
            return await self._client.run(self.core.import_state(data, **options))

    def fork(
        self,
        *,
        id: str | None = None,
        idle_ttl_s: float | None = None,
        step: int | None = None,
        revision: int | None = None,
        snapshot: str | None = None,
        keep: bool = False,
        **options: Unpack[Options],
    ) -> Opening:
        """A new session from where this one stands, or from one of three points where it stood."""
        flow = self.core.fork(id, idle_ttl_s, step, revision, snapshot, **options)
        return Opening(self._client, flow, keep, self._turn)

    async def snapshot(self, name: str | None = None, **options: Unpack[Options]) -> Snapshot:
        """Keep where it stands, by name, for as long as it lives."""
        async with self._turn:
            return await self._client.run(self.core.snapshot(name, **options))

    async def snapshots(self, **options: Unpack[ReadOptions]) -> list[Snapshot]:
        """Its kept points, oldest first."""
        return await self._client.run(self.core.snapshots(**options))

    async def history(
        self, *, page: int = 100, **options: Unpack[ReadOptions]
    ) -> AsyncIterator[HistoryEntry]:
        """What was done to it, newest first, as far back as it is kept; a page at a time."""
        cursor: int | None = None
        while True:
            found = await self._client.run(self.core.history(page, cursor, **options))
            for entry in found.entries:
                yield entry
            if (cursor := found.cursor) is None:
                return

    def events(
        self,
        *,
        include: tuple[str, ...] = (),
        after: str | None = None,
        retries: Retries | None = None,
    ) -> AsyncIterator[Event]:
        """What happens to it until it ends, from where this handle last saw it.

        include: of "rows", "weights", "usage"; after: the id of an event to go on behind instead.
        A broken connection is taken up where it broke.
        """
        return watch.events_async(
            self._client, self.id, include, after or self.core.position.etag.strip('"'), retries
        )

    def stream(
        self,
        *,
        window: int = WINDOW_ROWS,
        timeout: float | None = None,
        retries: Retries | None = None,
    ) -> AsyncRowStream:
        """Rows over a WebSocket, many in flight, each exactly once. Use it in an `async with`.

        window: rows sent and not answered; with as many, sending waits. Meanwhile nothing else
        may move the session.
        """
        return AsyncRowStream(self._client, self.core, window, timeout, retries)

    async def delete(self, **options: Unpack[Options]) -> None:
        """End it. Its state is gone."""
        async with self._turn:
            await self._client.run(self.core.delete(**options))


class Opening:
    """A session that is being begun or looked for: to be awaited, or for an `async with`."""

    def __init__(
        self,
        client: AsyncClient,
        flow: Flow[SessionInfo],
        keep: bool,
        turn: asyncio.Lock | None = None,
    ) -> None:
        self._client, self._flow, self._keep = client, flow, keep
        self._turn = turn or asyncio.Lock()
        self._session: AsyncSession | None = None

    def __await__(self) -> Generator[object, None, AsyncSession]:
        return self._open().__await__()

    async def __aenter__(self) -> AsyncSession:
        self._session = await self._open()
        return self._session

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._session is not None:
            await self._session.__aexit__(kind, error, trace)

    async def _open(self) -> AsyncSession:
        async with self._turn:
            info = await self._client.run(self._flow)
        return AsyncSession(self._client, info, self._keep)
