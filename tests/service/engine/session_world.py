"""An engine with a store on one side, the plain model of its sessions on the other.

What clients ask of both is in session_requests.py; here are time, operators and comparing.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from export.bundle import Bundle
from service.engine import upkeep
from service.engine.engine import Engine
from service.engine.metrics import EngineMetrics
from service.engine.runtime import Runtime
from service.errors import NtmError
from service.requests import Describe, Guard, History, ListSessions, ListSnapshots, Memory
from service.settings import Settings
from service.store.memory import MemoryStore
from service.store.sqlite import Durability, open_sqlite
from service.store.store import Retention, SessionKey, Store, Stored
from tests.service.crash.reference import Reference
from tests.service.engine.driver import TIMED, Driver, Floats, make_host
from tests.service.engine.session_model import KEPT_REPLIES, Known

TENANTS = ("alice", "bob")
NAMES = ("one", "two", "three", "four", "five", "six")
SLOTS, MAX_BATCH = 4, 4
TTL_S = 100.0
WIDTH = 7
GUARDS = ("none", "key", "match", "both", "stale", "stale and key")


class Model(NamedTuple):
    """A bundle, what serves it and what it must agree with."""

    bundle: Bundle
    runtime: Runtime
    reference: Reference


class Sent(NamedTuple):
    """A request with a key that was carried out, and its answer."""

    request: Any
    incarnation: str
    answer: Any


class World:
    """The sessions of two tenants. `path`: of a SQLite file; None keeps them in memory."""

    def __init__(self, models: dict[str, Model], path: Path | None) -> None:
        self.models, self.path = models, path
        self.now = 1_000_000.0
        self.live: dict[tuple[str, str], Known] = {}
        self.ended: dict[tuple[str, str], str] = {}  # to the code that tells of it
        self.old: dict[tuple[str, str], list[str]] = {}  # ETags of what has ended
        self.sent: list[Sent] = []
        self.keys = 0
        self._patch = pytest.MonkeyPatch()
        for place in (*TIMED, "store.sqlite_reads", "store.sqlite_trim"):
            self._patch.setattr(f"service.{place}.time", lambda: self.now)
        self._loop = asyncio.Runner()
        self.store: Store = self.run(self._opened())
        self.engine = self._begun()

    def run(self, work: Any) -> Any:
        """What a coroutine comes to, in the world's own loop."""
        return self._loop.run(work)

    def call(self, request: Any) -> Any:
        """The answer to a request. Raises its error."""
        return self.run(self.driver().call(request))

    def refused(self, request: Any) -> str:
        """The code of the error that a request ends with."""
        try:
            answer = self.call(request)
        except NtmError as error:
            return error.code
        raise AssertionError(f"{request} was answered {answer}")

    def close(self) -> None:
        """Compare all there is a last time, and let go of it."""
        try:
            self.compare_all()
        finally:
            self.run(self.store.close())
            self._loop.close()
            self._patch.undo()

    def chosen(self, at: int) -> Known:
        """One of the live sessions."""
        return list(self.live.values())[at % len(self.live)]

    def pass_time(self, seconds: float, sweep: bool) -> None:
        """Let time pass; sessions that it ends are swept, or found out when they are asked for."""
        self.now += seconds
        over = [known for known in self.live.values() if known.expires_at <= self.now]
        if sweep:
            self.run(upkeep.sweep(self.engine.life))
        for known in over:
            assert self.refused(Describe(known.tenant, known.id)) == "session_expired"
            self.end(known, "session_expired")

    def spill(self) -> None:
        """Put every session that is not on the device off to the store."""
        self.run(upkeep.spill(self.engine.life, 0))

    def checkpoint(self) -> None:
        """Write every state that the engine holds; then none has rows to run again."""
        for known in self.live.values():
            self.compare(known)
        self.run(upkeep.checkpoint(self.engine.life))
        for tenant, name in self.live:
            stored = self.run(self.store.load(SessionKey(tenant, name)))
            assert isinstance(stored, Stored) and not stored.records

    def restart(self, clean: bool) -> None:
        """Another engine on the same store; not clean: nothing is written out first."""
        if clean:
            self.checkpoint()
        if self.path is not None:
            self.run(self.store.close())
            self.store = self.run(self._opened())
        self.engine = self._begun()

    def compare(self, known: Known) -> None:
        """A session stands where the model says, to the last bit."""
        info = self.call(Describe(known.tenant, known.id))
        got = (info.id, info.step, info.revision, info.incarnation, info.version, info.forked_from)
        want = (known.id, known.step, known.revision, known.incarnation, known.version)
        assert got == (*want, known.forked_from)
        assert info.expires_at == known.expires_at
        shown = self.call(Memory(known.tenant, known.id)).tensors
        assert [tensor.data for tensor in shown] == [array.tobytes() for array in known.state]

    def compare_all(self) -> None:
        """Every session, its history, its snapshots, and the lists; no slot was left behind."""
        for known in self.live.values():
            self.compare(known)
            page = self.call(History(known.tenant, known.id, None, 1000))
            got = [(r.kind, r.revision, r.step, r.rows, r.outputs) for r in page.records]
            want = [(e.kind, e.revision, e.step, e.rows, e.outputs) for e in known.entries]
            assert got == want[::-1]
            kept = self.call(ListSnapshots(known.tenant, known.id))
            assert {s.name: (s.step, s.revision) for s in kept} == {
                name: point[:2] for name, point in known.snapshots.items()
            }
        for tenant in TENANTS:
            listed = self.call(ListSessions(tenant, 100, None, None)).sessions
            assert [i.id for i in listed] == sorted(n for t, n in self.live if t == tenant)
        for (tenant, name), code in self.ended.items():
            assert self.refused(Describe(tenant, name)) == code
        assert self.run(self.store.count()) == len(self.live)
        self.run(self.driver().at_rest())

    def driver(self) -> Driver:
        """Who calls the engine that there is now."""
        return Driver(self.engine)

    def reference(self, known: Known) -> Reference:
        """What a session's rows must come to."""
        return self.models[known.version].reference

    def guard(self, keyed: bool, body: bytes) -> Guard:
        """A guard with a key of its own, or none."""
        self.keys += keyed
        return Guard(f"key-{self.keys}", body) if keyed else Guard()

    def how(self, known: Known, how: str, body: bytes) -> tuple[Guard, bool]:
        """A guard of a kind, and whether it lets a request through."""
        guard = self.guard("key" in how or how == "both", body)
        if how in ("match", "both"):
            return msgspec.structs.replace(guard, if_match=known.etag), True
        if "stale" not in how:
            return guard, True
        ended = self.old.get((known.tenant, known.id), [])
        before = f"{known.incarnation}-{known.revision - 1}"
        return msgspec.structs.replace(guard, if_match=[before, *ended][-1]), False

    def remember(self, request: Any, known: Known, answer: Any) -> None:
        """Keep what has a key, to be sent again."""
        if request.guard.key is not None:
            self.sent.append(Sent(request, known.incarnation, answer))

    def begin(self, known: Known, request: Any, info: Any) -> None:
        """A session begins in the model too."""
        self.live[known.tenant, known.id] = known
        self.ended.pop((known.tenant, known.id), None)
        self.remember(request, known, info)
        self.compare(known)

    def end(self, known: Known, code: str) -> None:
        """A session is no more; `code` tells of it from now on."""
        name = (known.tenant, known.id)
        del self.live[name]
        self.ended[name] = code
        self.old.setdefault(name, []).append(known.etag)
        assert self.refused(Memory(*name)) == code

    async def _opened(self) -> Store:
        retention = Retention(replies=KEPT_REPLIES)
        if self.path is None:
            return MemoryStore(retention)
        return await open_sqlite(str(self.path), Durability("sync", full=False), retention)

    def _begun(self) -> Engine:
        settings = Settings(idle_ttl_s=TTL_S, checkpoint_rows=4, kept_replies=KEPT_REPLIES)
        engine = Engine(settings, self.store, EngineMetrics())
        for model in self.models.values():
            sizes = {"slots": SLOTS, "max_batch": MAX_BATCH}
            engine.add(make_host(model.bundle, model.runtime, engine, **sizes))
        return engine


def rows_of(seed: int, count: int) -> Floats:
    """Rows (count, X) of a seed."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, WIDTH)).astype(np.float32)
