"""Every call but a step, a prediction and a reload: which function has its answer."""

from __future__ import annotations

from typing import Any

from service.engine import catalog, creation, lookback, mutations, snapshots, upkeep, views
from service.engine.lifecycle import Lifecycle
from service.requests import (
    Create,
    Delete,
    Describe,
    Fork,
    Health,
    History,
    Import,
    ListModels,
    ListSessions,
    ListSnapshots,
    Memory,
    Metrics,
    Migrate,
    Request,
    Reset,
    Restore,
    Snapshot,
    Statistics,
    Trace,
    Unload,
    Usage,
)
from service.results import HealthInfo


async def answer(life: Lifecycle, request: Request) -> Any:
    """The result that the request's docstring names. Raises NtmError."""
    match request:
        case Create():
            return await creation.create(life, request)
        case Describe():
            return await views.described(life, request)
        case ListSessions():
            return await views.page(life, request)
        case Memory():
            return await views.memory(life, request)
        case History():
            return await views.history(life, request)
        case Trace():
            return await lookback.trace(life, request)
        case Snapshot():
            return await snapshots.keep(life, request)
        case ListSnapshots():
            return await snapshots.kept(life, request)
        case Fork():
            return await mutations.fork(life, request)
        case Reset():
            return await mutations.reset(life, request)
        case Restore():
            return await mutations.restore(life, request)
        case Import():
            return await mutations.import_state(life, request)
        case Migrate():
            return await mutations.migrate(life, request)
        case Delete():
            return await mutations.delete(life, request)
        case _:
            return await _of_the_engine(life, request)


async def _of_the_engine(life: Lifecycle, request: Request) -> Any:
    match request:
        case ListModels():
            return [host.info for host in life.hosts.values()]
        case Health():
            ready = bool(life.hosts)
            return HealthInfo(ready, "" if ready else "no model is loaded")
        case Metrics():
            await upkeep.update_gauges(life)
            return life.metrics.text()
        case Statistics():
            return [host.statistics.told(*name) for name, host in life.hosts.items()]
        case Usage():
            return await life.quotas.usage(request.tenant)
        case Unload():
            return await catalog.unload(life, request)
        case _:
            raise TypeError(f"{type(request).__name__} is not answered here")
