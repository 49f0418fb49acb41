"""A session as `Client` gives it: every call blocks until it is answered."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Unpack

from service.client import watch
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
from service.client.pipeline import WINDOW_ROWS
from service.client.row_stream import RowStream
from service.client.session_core import Position, SessionCore

if TYPE_CHECKING:
    from service.client.client import Client


class Session:
    """A handle on one session. Its mutations run one after another, also from several threads.

    Each is conditional on where this handle last saw the session: where somebody else moved it,
    RevisionMismatch; `info()` looks again, and `if_match="*"` does not care.
    """

    def __init__(self, client: Client, info: SessionInfo, keep: bool) -> None:
        self._client, self.core = client, SessionCore(client.core, info)
        self.keep = keep
        self._turn = threading.Lock()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self.keep:
            return
        try:
            # Whoever moved it meanwhile: it ends here. After a failure it is tried but once.
            once: ReadOptions = {} if error is None else {"retries": Retries(0)}
            self.delete(if_match="*", **once)
        except (NotFound, Expired):
            return
        except NtmClientError as failed:
            if error is None:
                raise
            error.add_note(f"and session {self.id!r} could not be deleted: {failed}")

    def __repr__(self) -> str:
        return f"<Session {self.id} of {self.model} {self.version}, step {self.position.step}>"

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

    def info(self, **options: Unpack[ReadOptions]) -> SessionInfo:
        """Where it stands now, which this handle goes on from."""
        with self._turn:
            return self._client.run(self.core.info(**options))

    def step(self, rows: Rows, *, trace: bool = False, **options: Unpack[Options]) -> Stepped:
        """Rows (T, X), or one row (X,), in; outputs (T, Y) out. All are committed, or none."""
        with self._turn:
            return self._client.run(self.core.step(rows, trace, **options))

    def memory(self, **options: Unpack[ReadOptions]) -> Memory:
        """Its whole committed state."""
        return self._client.run(self.core.memory(**options))

    def reset(self, **options: Unpack[Options]) -> Moved:
        """Back to the initial state and step 0. This too can be undone, by `restore`."""
        with self._turn:
            return self._client.run(self.core.reset(**options))

    def restore(
        self,
        *,
        step: int | None = None,
        revision: int | None = None,
        snapshot: str | None = None,
        **options: Unpack[Options],
    ) -> Moved:
        """Back to one of the three: a step, a revision, a snapshot."""
        with self._turn:
            return self._client.run(self.core.restore(step, revision, snapshot, **options))

    def migrate(self, version: str, **options: Unpack[Options]) -> Moved:
        """On to another loaded version of its model."""
        with self._turn:
            return self._client.run(self.core.migrate(version, **options))

    def export_state(self, **options: Unpack[ReadOptions]) -> bytes:
        """Its state as a safetensors file."""
        return self._client.run(self.core.export_state(**options))

    def import_state(self, data: bytes, **options: Unpack[Options]) -> Moved:
        """Put a state in place that `export_state` gave, of a session of the same make."""
        with self._turn:
            return self._client.run(self.core.import_state(data, **options))

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
    ) -> Session:
        """A new session from where this one stands, or from one of three points where it stood."""
        with self._turn:
            flow = self.core.fork(id, idle_ttl_s, step, revision, snapshot, **options)
            return Session(self._client, self._client.run(flow), keep)

    def snapshot(self, name: str | None = None, **options: Unpack[Options]) -> Snapshot:
        """Keep where it stands, by name, for as long as it lives."""
        with self._turn:
            return self._client.run(self.core.snapshot(name, **options))

    def snapshots(self, **options: Unpack[ReadOptions]) -> list[Snapshot]:
        """Its kept points, oldest first."""
        return self._client.run(self.core.snapshots(**options))

    def history(self, *, page: int = 100, **options: Unpack[ReadOptions]) -> Iterator[HistoryEntry]:
        """What was done to it, newest first, as far back as it is kept; a page at a time."""
        cursor: int | None = None
        while True:
            found = self._client.run(self.core.history(page, cursor, **options))
            yield from found.entries
            if (cursor := found.cursor) is None:
                return

    def events(
        self,
        *,
        include: tuple[str, ...] = (),
        after: str | None = None,
        retries: Retries | None = None,
    ) -> Iterator[Event]:
        """What happens to it until it ends, from where this handle last saw it.

        include: of "rows", "weights", "usage"; after: the id of an event to go on behind instead.
        A broken connection is taken up where it broke.
        """
        return watch.events(
            self._client, self.id, include, after or self.core.position.etag.strip('"'), retries
        )

    def stream(
        self,
        *,
        window: int = WINDOW_ROWS,
        timeout: float | None = None,
        retries: Retries | None = None,
    ) -> RowStream:
        """Rows over a WebSocket, many in flight, each exactly once. Use it in a `with`.

        window: rows sent and not answered; with as many, sending waits. Meanwhile nothing else
        may move the session.
        """
        return RowStream(self._client, self.core, window, timeout, retries)

    def delete(self, **options: Unpack[Options]) -> None:
        """End it. Its state is gone."""
        with self._turn:
            self._client.run(self.core.delete(**options))
