"""What is done from time to time: idle sessions ended, states put off to the store, gauges."""

from __future__ import annotations

from time import time

from service.engine import gauges
from service.engine.lifecycle import Lifecycle
from service.engine.sessions import Session
from service.store.store import Change, Checkpoint, Committed

SWEEP = 1000  # sessions ended a sweep
SPILL = 256  # sessions put off to the store in one commit
SESSION_BYTES = 1024  # what a held session costs beside its state, about


async def sweep(life: Lifecycle) -> None:
    """End the sessions past their TTL, but for those with steps under way."""
    for row in await life.store.expired(time(), SWEEP):
        session = life.known(row.key)
        if session is None or not session.jobs:
            await life.end(row, "expired")


async def spill(life: Lifecycle, budget: int) -> None:
    """Put idle sessions off to the store, least recently used first, until those held
    outside the device cost at most `budget` bytes."""
    idle = [s for s in life.sessions() if not s.jobs and s.tier == "host"]
    excess = sum(len(s.saved or b"") + SESSION_BYTES for s in idle) - budget
    chosen: list[Session] = []
    for session in idle:
        if excess <= 0:
            break
        excess -= len(session.saved or b"") + SESSION_BYTES
        chosen.append(session)
    await checkpoint(life, chosen)
    for session in chosen:
        if not session.jobs and not session.unsaved and life.is_held(session):
            life.forget(session)
            life.metrics.evicted(session.row.model, "host_full")
            life.evicted(session, "host_full")


async def checkpoint(life: Lifecycle, sessions: list[Session] | None = None) -> None:
    """Write the state of sessions that have rows since their checkpoint; of all where None."""
    chosen = life.sessions() if sessions is None else sessions
    dirty = [session for session in chosen if session.unsaved and not session.jobs]
    for at in range(0, len(dirty), SPILL):
        # Some may have gone, or moved on, while those before them were written.
        part = [(s, s.row) for s in dirty[at : at + SPILL] if life.is_held(s) and not s.jobs]
        changes = [_checkpoint_of(session) for session, _ in part]
        outcomes = await life.store.commit(changes)
        for (session, row), outcome in zip(part, outcomes, strict=True):
            if isinstance(outcome, Committed) and session.row is row:
                session.unsaved = 0


async def update_gauges(life: Lifecycle) -> None:
    """Bring the gauges up to date, for a scrape."""
    metrics = life.metrics
    live, resident, saved, shared = await gauges.of_store(life), 0, 0, 0
    sizes = {"device": 0, "host": 0}
    waiting = dict.fromkeys((name for name, _ in life.hosts), 0)  # of all versions together
    for host in life.hosts.values():
        waiting[host.manifest.name] += host.scheduler.admitted
        resident += host.placement.resident
        sizes["device"] += host.placement.occupied * host.state_bytes
        host.update_gauges()
    for session in life.sessions():
        saved += session.saved is not None
        shared += session.slot == 0
        sizes["host"] += len(session.saved or b"")
    states = {"device": resident, "initial": shared, "host": saved}
    if live is not None:
        states["store"] = max(0, live - sum(states.values()))
    gauges.of_models(life)
    gauges.of_gpus(life)
    for model, value in waiting.items():
        metrics.queue_depth.labels(model).set(value)
    for state, value in states.items():
        metrics.sessions.labels(state).set(value)
    for tier, value in sizes.items():
        metrics.state_bytes.labels(tier).set(value)


def _checkpoint_of(session: Session) -> Change:
    row = session.row
    checkpoint = Checkpoint(row.revision, row.step, session.host.placement.packed(session))
    return Change(row, (row.incarnation, row.revision), None, checkpoint)
