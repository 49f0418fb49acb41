"""An engine with a store on one side, the plain model of its sessions on the other.

Every method does something to both and compares what comes of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from export.bundle import Bundle
from service.engine.engine import Engine
from service.engine.metrics import EngineMetrics
from service.engine.runtime import Runtime
from service.errors import NtmError
from service.messages import (
    Create,
    Delete,
    Describe,
    Fork,
    Guard,
    History,
    Import,
    ListSessions,
    ListSnapshots,
    Memory,
    Migrate,
    Moved,
    Point,
    Reset,
    Restore,
    Snapshot,
    StepsResult,
)
from service.settings import Settings
from service.store.memory import MemoryStore
from service.store.sqlite import Durability, open_sqlite
from service.store.store import Retention, SessionKey, Store, Stored
from tests.service.crash.client import Reference
from tests.service.engine.driver import Driver, Floats, make_host
from tests.service.engine.session_model import KEPT_REPLIES, Entry, Known

TENANTS = ("alice", "bob")
NAMES = ("one", "two", "three", "four", "five", "six")
SLOTS, MAX_BATCH = 4, 4
TTL_S = 100.0
WIDTH = 7
TIMED = (
    "engine.lifecycle", "engine.commit", "engine.mutations",
    "store.memory", "store.sqlite_reads", "store.sqlite_trim",
)  # fmt: skip
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
        for place in TIMED:
            self._patch.setattr(f"service.{place}.time", lambda: self.now)
        self._loop = asyncio.Runner()
        self._store: Store = self.run(self._opened())
        self.engine = self._begun()

    def run(self, work: Any) -> Any:
        """What a coroutine comes to, in the world's own loop."""
        return self._loop.run(work)

    def call(self, request: Any) -> Any:
        """The answer to a request. Raises its error."""
        return self.run(self._driver().call(request))

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
            self.run(self._store.close())
            self._loop.close()
            self._patch.undo()

    def chosen(self, at: int) -> Known:
        """One of the live sessions."""
        return list(self.live.values())[at % len(self.live)]

    def create(
        self, tenant: str, name: str | None, version: str, ttl_s: float | None, keyed: bool,
        overridden: bool,
    ) -> None:  # fmt: skip
        """Begin a session, also under the id of one that lives or has ended."""
        reference = self.models[version].reference
        state = reference.initial()
        given = None
        if overridden:
            state = [np.full_like(state[0], 0.125), *state[1:]]
            given = {self.models[version].bundle.manifest.state[0].name: state[0].tobytes()}
        guard = self._guard(keyed, b"create")
        request = Create(tenant, "small", version, name, ttl_s, given, guard)
        if name is not None and (tenant, name) in self.live:
            assert self.refused(request) == "session_exists"
            return
        info = self.call(request)
        assert (info.step, info.revision, info.version) == (0, 1, version)
        assert name in (None, info.id) and (tenant, info.id) not in self.live
        entries = [Entry("create", 1, [(0, state)], key=guard.key)]
        made = (info.incarnation, self.now, ttl_s or TTL_S, entries)
        self._begin(Known(tenant, info.id, version, *made), request, info)

    def step(self, known: Known, rows: Floats, how: str, twice: bool = False) -> None:
        """Run rows, perhaps sent twice at once with one key."""
        guard, holds = self._how(known, how, rows.tobytes())
        request = self._driver().steps(known.id, rows, guard=guard)
        request = msgspec.structs.replace(request, tenant=known.tenant)
        if not holds:
            assert self.refused(request) == "revision_mismatch"
        else:
            answers = self.run(self._both(request, 2 if twice and guard.key else 1))
            entry = known.stepped(self._reference(known), rows, guard.key, self.now)
            for answer in answers:
                self._is_step(answer, known, entry)
            self._kept(request, known, answers[0])
        self.compare(known)

    def burst(self, seed: int, count: int) -> None:
        """Rows for every session at once, more than there are slots."""
        everybody = list(self.live.values())
        rows = {known.id: rows_of(seed + at, count) for at, known in enumerate(everybody)}

        async def all_at_once() -> list[StepsResult]:
            drivers = {tenant: Driver(self.engine, tenant) for tenant in TENANTS}
            begun = [drivers[k.tenant].step(k.id, rows[k.id]) for k in everybody]
            return [await answer.wait() for answer in begun]

        for known, answer in zip(everybody, self.run(all_at_once()), strict=True):
            entry = known.stepped(self._reference(known), rows[known.id], None, self.now)
            self._is_step(answer, known, entry)

    def reset(self, known: Known, how: str) -> None:
        """Back to the initial state."""
        guard, holds = self._how(known, how, b"reset")
        request = Reset(known.tenant, known.id, guard)
        initial = self._reference(known).initial()
        self._move(
            known, request, holds, lambda: known.moved("reset", 0, initial, *self._of(guard))
        )

    def restore(self, known: Known, point: Point, how: str) -> None:
        """Back to a point, which may not be kept."""
        guard, holds = self._how(known, how, repr(point).encode())
        request = Restore(known.tenant, known.id, point, guard)
        there = known.at(point)
        if holds and there is None:
            assert self.refused(request) == "point_not_kept"
            return self.compare(known)
        there = there or (0, [])
        self._move(known, request, holds, lambda: known.moved("restore", *there, *self._of(guard)))

    def fork(self, known: Known, name: str, point: Point, how: str) -> None:
        """Go on from a point in another session."""
        guard, holds = self._how(known, how, repr((name, point)).encode())
        request = Fork(known.tenant, known.id, point, name, None, guard)
        there = known.at(point) if point != Point() else (known.step, known.state)
        if not holds:
            assert self.refused(request) == "revision_mismatch"
        elif there is None:
            assert self.refused(request) == "point_not_kept"
        elif (known.tenant, name) in self.live:
            assert self.refused(request) == "session_exists"
        else:
            info = self.call(request)
            made = known.fork(name, there, self.now, guard.key)
            made.incarnation = info.incarnation
            assert (info.step, info.revision, info.forked_from) == (there[0], 1, known.id)
            self._begin(made, request, info)
        self.compare(known)

    def snapshot(self, known: Known, name: str, how: str) -> None:
        """Keep where a session stands, also under a name that is taken."""
        guard, holds = self._how(known, how, name.encode())
        request = Snapshot(known.tenant, known.id, name, guard)
        if name in known.snapshots:
            assert self.refused(request) == "snapshot_exists"
        elif not holds:
            assert self.refused(request) == "revision_mismatch"
        else:
            info = self.call(request)
            assert (info.name, info.step, info.revision) == (name, known.step, known.revision)
            known.snapshots[name] = (known.step, known.revision, known.state)
            self._kept(request, known, info)
        self.compare(known)

    def import_from(self, known: Known, other: Known, told: bool, how: str) -> None:
        """Put another session's state in place; `told`: with its step."""
        taken = self.call(Memory(other.tenant, other.id))
        tensors = {tensor.name: tensor.data for tensor in taken.tensors}
        guard, holds = self._how(known, how, b"import")
        step = taken.step if told else None
        request = Import(known.tenant, known.id, taken.spec, step, tensors, guard)
        wrong = msgspec.structs.replace(request, spec="0" * 64, guard=Guard())
        assert self.refused(wrong) == "spec_mismatch"
        to = (known.step if step is None else step, other.state)
        self._move(known, request, holds, lambda: known.moved("import", *to, *self._of(guard)))

    def migrate(self, known: Known, version: str, how: str) -> None:
        """Go on with another version; "3" keeps another state, "9" there is not."""
        guard, holds = self._how(known, how, version.encode())
        request = Migrate(known.tenant, known.id, version, guard)
        no = {"3": "spec_mismatch", "9": "model_not_found"}.get(version)
        if holds and no:
            assert self.refused(request) == no
            return self.compare(known)
        here = (known.step, known.state)
        self._move(
            known, request, holds,
            lambda: known.moved("migrate", *here, *self._of(guard), version),
        )  # fmt: skip

    def delete(self, known: Known, how: str) -> None:
        """End a session."""
        guard, holds = self._how(known, how, b"")
        request = Delete(known.tenant, known.id, guard)
        if not holds:
            assert self.refused(request) == "revision_mismatch"
            return self.compare(known)
        self.call(request)
        self._end(known, "session_not_found")

    def retry(self, at: int, otherwise: bool) -> None:
        """Send again what was carried out; `otherwise`: as another request under its key."""
        request, incarnation, answer = self.sent[at % len(self.sent)]
        fork = isinstance(request, Fork)
        name = (request.id if fork else request.session) or answer.id
        known = self.live.get((request.tenant, name))
        if fork and (request.tenant, request.session) not in self.live:
            return
        if known is None:
            if not isinstance(request, Create | Fork):
                assert self.refused(request) == self.ended[request.tenant, name]
            return
        kept = isinstance(request, Snapshot) or known.remembers(request.guard)
        if known.incarnation == incarnation and kept:
            self._repeat(request, answer, otherwise)
        elif request.guard.if_match is not None and not isinstance(request, Fork | Snapshot):
            assert self.refused(request) == "revision_mismatch"
        self.compare(known)

    def pass_time(self, seconds: float, sweep: bool) -> None:
        """Let time pass; sessions that it ends are swept, or found out when they are asked for."""
        self.now += seconds
        over = [known for known in self.live.values() if known.expires_at <= self.now]
        if sweep:
            self.run(self.engine.life.sweep())
        for known in over:
            assert self.refused(Describe(known.tenant, known.id)) == "session_expired"
            self._end(known, "session_expired")

    def spill(self) -> None:
        """Put every session that is not on the device off to the store."""
        self.run(self.engine.life.spill(0))

    def checkpoint(self) -> None:
        """Write every state that the engine holds; then none has rows to run again."""
        for known in self.live.values():
            self.compare(known)
        self.run(self.engine.life.checkpoint())
        for tenant, name in self.live:
            stored = self.run(self._store.load(SessionKey(tenant, name)))
            assert isinstance(stored, Stored) and not stored.records

    def restart(self, clean: bool) -> None:
        """Another engine on the same store; not clean: nothing is written out first."""
        if clean:
            self.checkpoint()
        if self.path is not None:
            self.run(self._store.close())
            self._store = self.run(self._opened())
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
        assert self.run(self._store.count()) == len(self.live)
        self.run(self._driver().at_rest())

    async def _opened(self) -> Store:
        retention = Retention(replies=KEPT_REPLIES)
        if self.path is None:
            return MemoryStore(retention)
        return await open_sqlite(str(self.path), Durability("sync", full=False), retention)

    def _begun(self) -> Engine:
        settings = Settings(idle_ttl_s=TTL_S, checkpoint_rows=4, kept_replies=KEPT_REPLIES)
        engine = Engine(settings, self._store, EngineMetrics())
        for model in self.models.values():
            sizes = {"slots": SLOTS, "max_batch": MAX_BATCH}
            engine.add(make_host(model.bundle, model.runtime, engine, **sizes))
        return engine

    def _driver(self) -> Driver:
        return Driver(self.engine)

    def _reference(self, known: Known) -> Reference:
        return self.models[known.version].reference

    def _guard(self, keyed: bool, body: bytes) -> Guard:
        self.keys += keyed
        return Guard(f"key-{self.keys}", body) if keyed else Guard()

    def _how(self, known: Known, how: str, body: bytes) -> tuple[Guard, bool]:
        """A guard of a kind, and whether it lets a request through."""
        guard = self._guard("key" in how or how == "both", body)
        if how in ("match", "both"):
            return msgspec.structs.replace(guard, if_match=known.etag), True
        if "stale" not in how:
            return guard, True
        ended = self.old.get((known.tenant, known.id), [])
        before = f"{known.incarnation}-{known.revision - 1}"
        return msgspec.structs.replace(guard, if_match=[before, *ended][-1]), False

    def _of(self, guard: Guard) -> tuple[str | None, float]:
        return guard.key, self.now

    def _move(self, known: Known, request: Any, holds: bool, moved: Callable[[], Entry]) -> None:
        if not holds:
            assert self.refused(request) == "revision_mismatch"
        else:
            answer = self.call(request)
            entry = moved()
            want = (entry.step, entry.revision, known.incarnation, known.version)
            assert answer == Moved(*want)
            self._kept(request, known, answer)
        self.compare(known)

    async def _both(self, request: Any, times: int) -> list[Any]:
        driver = self._driver()
        return [await a.wait() for a in [driver.send(request) for _ in range(times)]]

    def _is_step(self, answer: StepsResult, known: Known, entry: Entry) -> None:
        assert answer.outputs == entry.outputs
        got = (answer.step, answer.revision, answer.incarnation)
        assert got == (entry.step, entry.revision, known.incarnation)

    def _repeat(self, request: Any, answer: Any, otherwise: bool) -> None:
        if otherwise:
            guard = msgspec.structs.replace(request.guard, fingerprint=b"another")
            assert self.refused(msgspec.structs.replace(request, guard=guard)) == "key_reused"
            return
        again = self.call(request)
        if isinstance(answer, StepsResult | Moved):
            assert again == msgspec.structs.replace(answer, replayed=True)
        elif isinstance(request, Snapshot):
            assert again == answer
        else:
            names = ("id", "model", "version", "step", "revision", "incarnation", "forked_from")
            assert [getattr(again, n) for n in names] == [getattr(answer, n) for n in names]

    def _kept(self, request: Any, known: Known, answer: Any) -> None:
        if request.guard.key is not None:
            self.sent.append(Sent(request, known.incarnation, answer))

    def _begin(self, known: Known, request: Any, info: Any) -> None:
        self.live[known.tenant, known.id] = known
        self.ended.pop((known.tenant, known.id), None)
        self._kept(request, known, info)
        self.compare(known)

    def _end(self, known: Known, code: str) -> None:
        name = (known.tenant, known.id)
        del self.live[name]
        self.ended[name] = code
        self.old.setdefault(name, []).append(known.etag)
        assert self.refused(Memory(*name)) == code


def rows_of(seed: int, count: int) -> Floats:
    """Rows (count, X) of a seed."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, WIDTH)).astype(np.float32)
