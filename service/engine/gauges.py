"""What only a scrape asks for: the store's state and room, each model's limits, the GPUs.

A store that is away costs a scrape STORE_S and its own gauges, and nothing else: what the engine
itself counts is told all the same, and that the store is away.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

from service.engine import nvml
from service.engine.lifecycle import Lifecycle
from service.store.store import StoreUnavailable

STORE_S = 1.0  # a front waits 2 s for the engine's metrics


async def of_store(life: Lifecycle) -> int | None:
    """Ask the store. Returns how many sessions live in it, None where it does not answer."""
    store, metrics, live = life.store, life.metrics, None
    with suppress(StoreUnavailable, TimeoutError):
        async with asyncio.timeout(STORE_S):
            live = await store.count()
            metrics.live_sessions.labels(store.name).set(live)
            metrics.model_sessions.clear()
            for model in list(life.hosts):
                metrics.model_sessions.labels(*model).set(await store.count(model))
            await _of_room(life)
    metrics.store_up.labels(store.name).set(live is not None)
    return live


async def _of_room(life: Lifecycle) -> None:
    room, name = await life.store.room(), life.store.name
    if room is None:
        return
    life.metrics.store_bytes.labels(name).set(room.used)
    for gauge, value in (
        (life.metrics.store_free_bytes, room.free),
        (life.metrics.store_limit_bytes, room.limit),
    ):
        gauge.clear()  # a limit may have been lifted
        if value is not None:
            gauge.labels(name).set(value)


def of_models(life: Lifecycle) -> None:
    """Each model's limits and, by version, what it has done and what waits for it."""
    metrics = life.metrics
    metrics.totals.told = [host.statistics.told(*name) for name, host in life.hosts.items()]
    queues: Counter[str] = Counter()
    slots: Counter[str] = Counter()
    metrics.pending.clear()
    for (model, version), host in life.hosts.items():
        queues[model] += host.scheduler.max_queue
        slots[model] += host.placement.arena.slots
        waiting = sum(not job.started for job in host.scheduler.waiting())
        metrics.pending.labels(model, version).set(waiting)
        metrics.batch_limit.labels(model).set(host.scheduler.max_batch)
    for model in queues:
        metrics.queue_limit.labels(model).set(queues[model])
        metrics.slots.labels(model).set(slots[model])


def of_gpus(life: Lifecycle) -> None:
    """The machine's GPUs, where a model runs on one."""
    if not any(host.runtime.backend.device.startswith("cuda") for host in life.hosts.values()):
        return
    metrics = life.metrics
    for gpu in nvml.read():
        for gauge, value in (
            (metrics.gpu_busy, gpu.busy),
            (metrics.gpu_used, gpu.used_bytes),
            (metrics.gpu_total, gpu.total_bytes),
            (metrics.gpu_watts, gpu.watts),
        ):
            if value is not None:
                gauge.labels(str(gpu.index), gpu.uuid).set(value)
