"""One session without its I/O: where it was last seen, and what can be asked of it."""

from __future__ import annotations

from typing import Any

import msgspec

from service.client import calls, codec
from service.client.answers import Memory, Moved, SessionInfo, Snapshot, Stepped
from service.client.codec import Rows
from service.client.core import Core
from service.client.exchange import Call, Flow, Reply


class Position(msgspec.Struct, frozen=True):
    """Where a handle last saw its session. etag: what its next mutation is conditional on."""

    step: int
    revision: int
    etag: str


class SessionCore:
    """Each flow that mutates sends a key and the last known ETag, and learns the new one."""

    def __init__(self, core: Core, info: SessionInfo) -> None:
        self._core = core
        self.id, self.model, self.version = info.id, info.model, info.version
        self.incarnation = info.incarnation
        self.position = Position(info.step, info.revision, info.etag)

    def info(self, **options: Any) -> Flow[SessionInfo]:
        """Where the session stands, which the handle then goes on from."""
        info = yield from self._core.info(self.id, **options)
        self.version, self.incarnation = info.version, info.incarnation
        self.moved_to(info.step, info.revision, info.etag)
        return info

    def step(self, rows: Rows, trace: bool, **options: Any) -> Flow[Stepped]:
        """Rows in, rows out."""
        reply = yield from self._mutate(calls.steps(self.id, rows, trace), options)
        done = calls.read_steps(reply)
        self._learn(reply, done.step, done.revision)
        return done

    def memory(self, **options: Any) -> Flow[Memory]:
        """The committed state."""
        return calls.read_memory((yield from self._ask("memory", options)))

    def reset(self, **options: Any) -> Flow[Moved]:
        """Back to the initial state."""
        return (yield from self._move(calls.post("sessions", self.id, "reset"), options))

    def restore(
        self, step: int | None, revision: int | None, snapshot: str | None, **options: Any
    ) -> Flow[Moved]:
        """Back to a kept point."""
        point = {"step": step, "revision": revision, "snapshot": snapshot}
        return (yield from self._move(calls.post("sessions", self.id, "restore", **point), options))

    def migrate(self, version: str, **options: Any) -> Flow[Moved]:
        """On to another version of the model."""
        call = calls.post("sessions", self.id, "migrate", version=version)
        return (yield from self._move(call, options))

    def import_state(self, data: bytes, **options: Any) -> Flow[Moved]:
        """A state file in place of the state."""
        return (yield from self._move(calls.put_state(self.id, data), options))

    def export_state(self, **options: Any) -> Flow[bytes]:
        """The committed state as a safetensors file."""
        return (yield from self._ask("state", options)).body

    def fork(
        self,
        id: str | None,
        idle_ttl_s: float | None,
        step: int | None,
        revision: int | None,
        snapshot: str | None,
        **options: Any,
    ) -> Flow[SessionInfo]:
        """A new session from where this one stands, or stood."""
        fields: dict[str, Any] = {"idle_ttl_s": idle_ttl_s, "step": step, "revision": revision}
        call = calls.post("sessions", self.id, "fork", id=id, snapshot=snapshot, **fields)
        return codec.decode(SessionInfo, (yield from self._mutate(call, options)))

    def snapshot(self, name: str | None, **options: Any) -> Flow[Snapshot]:
        """Keep where it stands."""
        call = calls.post("sessions", self.id, "snapshots", name=name)
        return codec.decode(Snapshot, (yield from self._mutate(call, options)))

    def snapshots(self, **options: Any) -> Flow[list[Snapshot]]:
        """The kept points, oldest first."""
        return calls.read_snapshots((yield from self._ask("snapshots", options)))

    def history(self, page: int, cursor: int | None, **options: Any) -> Flow[calls.HistoryPage]:
        """A page of what was done, newest first."""
        call = calls.get("sessions", self.id, "history", limit=page, cursor=cursor)
        return calls.read_history((yield from self._core.ask(call, **options)))

    def delete(self, **options: Any) -> Flow[None]:
        """End it."""
        return self._core.delete(self.id, self.position.etag, **options)

    def moved_to(self, step: int, revision: int, etag: str | None = None) -> None:
        """Something said that the session stands there now."""
        tag = etag or f'"{self.incarnation}-{revision}"'
        self.position = Position(step, revision, tag)

    def _ask(self, what: str, options: dict[str, Any]) -> Flow[Reply]:
        return self._core.ask(calls.get("sessions", self.id, what), **options)

    def _mutate(self, call: Call, options: dict[str, Any]) -> Flow[Reply]:
        return self._core.mutate(call, self.position.etag, **options)

    def _move(self, call: Call, options: dict[str, Any]) -> Flow[Moved]:
        reply = yield from self._mutate(call, options)
        moved = codec.decode(Moved, reply)
        self.version = moved.version
        self._learn(reply, moved.step, moved.revision)
        return moved

    def _learn(self, reply: Reply, step: int, revision: int) -> None:
        if revision >= self.position.revision:  # a repeat under an old key tells of then, not now
            self.moved_to(step, revision, reply.headers.get("etag"))
