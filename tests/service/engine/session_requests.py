"""What clients ask of a world of sessions, done to its engine and to its model and compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from service.requests import (
    Create,
    Delete,
    Fork,
    Given,
    Guard,
    Import,
    Memory,
    Migrate,
    Point,
    Reset,
    Restore,
    Snapshot,
)
from service.results import Moved, StepsResult
from service.rows import dtype
from tests.service.engine.driver import Driver, Floats
from tests.service.engine.session_model import Entry, Known
from tests.service.engine.session_world import TENANTS, TTL_S, World, rows_of


def create(
    world: World, tenant: str, name: str | None, version: str, ttl_s: float | None, keyed: bool,
    overridden: bool,
) -> None:  # fmt: skip
    """Begin a session, also under the id of one that lives or has ended."""
    reference = world.models[version].reference
    state = reference.initial()
    given = None
    if overridden:
        state = [np.full_like(state[0], 0.125), *state[1:]]
        given = {world.models[version].bundle.manifest.state[0].name: state[0].tobytes()}
    guard = world.guard(keyed, b"create")
    request = Create(tenant, "small", version, name, ttl_s, given, guard)
    if name is not None and (tenant, name) in world.live:
        assert world.refused(request) == "session_exists"
        return
    info = world.call(request)
    assert (info.step, info.revision, info.version) == (0, 1, version)
    assert name in (None, info.id) and (tenant, info.id) not in world.live
    entries = [Entry("create", 1, [(0, state)], key=guard.key)]
    made = (info.incarnation, world.now, ttl_s or TTL_S, entries)
    world.begin(Known(tenant, info.id, version, *made), request, info)


def step(world: World, known: Known, rows: Floats, how: str, twice: bool = False) -> None:
    """Run rows, perhaps sent twice at once with one key."""
    guard, holds = world.how(known, how, rows.tobytes())
    request = world.driver().steps(known.id, rows, guard=guard)
    request = msgspec.structs.replace(request, tenant=known.tenant)
    if not holds:
        assert world.refused(request) == "revision_mismatch"
    else:
        answers = world.run(_both(world, request, 2 if twice and guard.key else 1))
        entry = known.stepped(world.reference(known), rows, guard.key, world.now)
        for answer in answers:
            _is_step(world, answer, known, entry)
        world.remember(request, known, answers[0])
    world.compare(known)


def burst(world: World, seed: int, count: int) -> None:
    """Rows for every session at once, more than there are slots."""
    everybody = list(world.live.values())
    rows = {known.id: rows_of(seed + at, count) for at, known in enumerate(everybody)}

    async def all_at_once() -> list[StepsResult]:
        drivers = {tenant: Driver(world.engine, tenant) for tenant in TENANTS}
        begun = [drivers[k.tenant].step(k.id, rows[k.id]) for k in everybody]
        return [await answer.wait() for answer in begun]

    for known, answer in zip(everybody, world.run(all_at_once()), strict=True):
        entry = known.stepped(world.reference(known), rows[known.id], None, world.now)
        _is_step(world, answer, known, entry)


def reset(world: World, known: Known, how: str) -> None:
    """Back to the initial state."""
    guard, holds = world.how(known, how, b"reset")
    request = Reset(known.tenant, known.id, guard)
    initial = world.reference(known).initial()
    _move(
        world, known, request, holds, lambda: known.moved("reset", 0, initial, *_of(world, guard))
    )


def restore(world: World, known: Known, point: Point, how: str) -> None:
    """Back to a point, which may not be kept."""
    guard, holds = world.how(known, how, repr(point).encode())
    request = Restore(known.tenant, known.id, point, guard)
    there = known.at(point)
    if holds and there is None:
        assert world.refused(request) == "point_not_kept"
        return world.compare(known)
    there = there or (0, [])
    _move(world, known, request, holds, lambda: known.moved("restore", *there, *_of(world, guard)))


def fork(world: World, known: Known, name: str, point: Point, how: str) -> None:
    """Go on from a point in another session."""
    guard, holds = world.how(known, how, repr((name, point)).encode())
    request = Fork(known.tenant, known.id, point, name, None, guard)
    there = known.at(point) if point != Point() else (known.step, known.state)
    if not holds:
        assert world.refused(request) == "revision_mismatch"
    elif there is None:
        assert world.refused(request) == "point_not_kept"
    elif (known.tenant, name) in world.live:
        assert world.refused(request) == "session_exists"
    else:
        info = world.call(request)
        made = known.fork(name, there, world.now, guard.key)
        made.incarnation = info.incarnation
        assert (info.step, info.revision, info.forked_from) == (there[0], 1, known.id)
        world.begin(made, request, info)
    world.compare(known)


def snapshot(world: World, known: Known, name: str, how: str) -> None:
    """Keep where a session stands, also under a name that is taken."""
    guard, holds = world.how(known, how, name.encode())
    request = Snapshot(known.tenant, known.id, name, guard)
    if name in known.snapshots:
        assert world.refused(request) == "snapshot_exists"
    elif not holds:
        assert world.refused(request) == "revision_mismatch"
    else:
        info = world.call(request)
        assert (info.name, info.step, info.revision) == (name, known.step, known.revision)
        known.snapshots[name] = (known.step, known.revision, known.state)
        world.remember(request, known, info)
    world.compare(known)


def import_from(world: World, known: Known, other: Known, told: bool, how: str) -> None:
    """Put another session's state in place; `told`: with its step."""
    taken = world.call(Memory(other.tenant, other.id))
    tensors = {t.name: Given(dtype(t), t.dims, t.data) for t in taken.tensors}
    guard, holds = world.how(known, how, b"import")
    step = taken.step if told else None
    request = Import(known.tenant, known.id, taken.spec, step, tensors, guard)
    wrong = msgspec.structs.replace(request, spec="0" * 64, guard=Guard())
    assert world.refused(wrong) == "spec_mismatch"
    to = (known.step if step is None else step, other.state)
    _move(world, known, request, holds, lambda: known.moved("import", *to, *_of(world, guard)))


def migrate(world: World, known: Known, version: str, how: str) -> None:
    """Go on with another version; "3" keeps another state, "9" there is not."""
    guard, holds = world.how(known, how, version.encode())
    request = Migrate(known.tenant, known.id, version, guard)
    no = {"3": "spec_mismatch", "9": "model_not_found"}.get(version)
    if holds and no:
        assert world.refused(request) == no
        return world.compare(known)
    here = (known.step, known.state)
    _move(world, 
        known, request, holds,
        lambda: known.moved("migrate", *here, *_of(world, guard), version),
    )  # fmt: skip


def delete(world: World, known: Known, how: str) -> None:
    """End a session."""
    guard, holds = world.how(known, how, b"")
    request = Delete(known.tenant, known.id, guard)
    if not holds:
        assert world.refused(request) == "revision_mismatch"
        return world.compare(known)
    world.call(request)
    world.end(known, "session_not_found")


def retry(world: World, at: int, otherwise: bool) -> None:
    """Send again what was carried out; `otherwise`: as another request under its key."""
    request, incarnation, answer = world.sent[at % len(world.sent)]
    fork = isinstance(request, Fork)
    name = (request.id if fork else request.session) or answer.id
    known = world.live.get((request.tenant, name))
    if fork and (request.tenant, request.session) not in world.live:
        return
    if known is None:
        if not isinstance(request, Create | Fork):
            assert world.refused(request) == world.ended[request.tenant, name]
        return
    kept = isinstance(request, Snapshot) or known.remembers(request.guard)
    if known.incarnation == incarnation and kept:
        _repeat(world, request, answer, otherwise)
    elif request.guard.if_match is not None and not isinstance(request, Fork | Snapshot):
        assert world.refused(request) == "revision_mismatch"
    world.compare(known)


async def _both(world: World, request: Any, times: int) -> list[Any]:
    driver = world.driver()
    return [await a.wait() for a in [driver.send(request) for _ in range(times)]]


def _is_step(world: World, answer: StepsResult, known: Known, entry: Entry) -> None:
    assert answer.outputs == entry.outputs
    got = (answer.step, answer.revision, answer.incarnation)
    assert got == (entry.step, entry.revision, known.incarnation)


def _repeat(world: World, request: Any, answer: Any, otherwise: bool) -> None:
    if otherwise:
        guard = msgspec.structs.replace(request.guard, fingerprint=b"another")
        assert world.refused(msgspec.structs.replace(request, guard=guard)) == "key_reused"
        return
    again = world.call(request)
    if isinstance(answer, StepsResult):
        # The session may have moved to another version since.
        assert again == msgspec.structs.replace(answer, replayed=True, version=again.version)
    elif isinstance(answer, Moved) or isinstance(request, Snapshot):
        assert again == msgspec.structs.replace(answer, replayed=True)
    else:
        assert again.replayed
        names = ("id", "model", "version", "step", "revision", "incarnation", "forked_from")
        assert [getattr(again, n) for n in names] == [getattr(answer, n) for n in names]


def _move(
    world: World, known: Known, request: Any, holds: bool, moved: Callable[[], Entry]
) -> None:
    if not holds:
        assert world.refused(request) == "revision_mismatch"
    else:
        answer = world.call(request)
        entry = moved()
        want = (entry.step, entry.revision, known.incarnation, known.version)
        assert answer == Moved(*want)
        world.remember(request, known, answer)
    world.compare(known)


def _of(world: World, guard: Guard) -> tuple[str | None, float]:
    return guard.key, world.now
