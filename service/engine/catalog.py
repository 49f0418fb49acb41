"""Models coming and going while the server runs."""

from __future__ import annotations

import asyncio
import logging
from time import time

from export.bundle import Bundle, BundleError, read_bundle
from service.engine import upkeep
from service.engine.host import Host
from service.engine.hosts import named
from service.engine.lifecycle import Lifecycle
from service.engine.models import load_host
from service.engine.runtime import BackendError
from service.engine.sessions import Session
from service.errors import BundleChanged, InvalidRequest, ModelNotFound, VersionInUse
from service.folders import find_bundles
from service.requests import Unload
from service.store.store import SessionRow, Store

PAGE = 1000  # sessions looked at together

log = logging.getLogger("ntm.engine")


async def find_new(life: Lifecycle, model: str | None = None) -> list[Host]:
    """Load the bundles that are new under NTM_MODELS, all or a model's, beside those that run.

    Raises ModelNotFound where the model has no bundle; BundleChanged where a bundle is another
    than the one loaded under its name and version, or than the one that sessions began on;
    InvalidRequest for one that cannot be served. Then none is loaded.
    """
    try:
        bundles = _of(model, [read_bundle(place) for place in find_bundles(life.settings.models)])
        for bundle in bundles:
            name = (bundle.manifest.name, bundle.manifest.version)
            loaded = life.hosts.get(name)
            if loaded is not None and loaded.bundle.fingerprint != bundle.fingerprint:
                raise _changed(bundle, "runs")
            if loaded is None:
                await refuse_changed(life.store, bundle)
        new = [b for b in bundles if (b.manifest.name, b.manifest.version) not in life.hosts]
        _refuse_twins(new)
        models = len(life.hosts) + len(new)  # those that run keep the slots that they have
        # Warming takes a second or more, and steps go on meanwhile.
        return [
            await asyncio.to_thread(load_host, bundle, life.settings, life.metrics, models)
            for bundle in new
        ]
    except (BundleError, BackendError) as error:
        raise InvalidRequest(str(error)) from error


async def refuse_changed(store: Store, bundle: Bundle) -> None:
    """Raises BundleChanged for another bundle than the one that the live sessions of its name and
    version began on."""
    name = (bundle.manifest.name, bundle.manifest.version)
    if not await store.count(name):
        return
    for tenant in await store.tenants():
        row = await _live(store, tenant, name)
        if row is not None:
            if row.fingerprint != bundle.fingerprint:
                raise _changed(bundle, "has live sessions")
            return  # and so did all others, since no other bundle was let in beside them


async def _live(store: Store, tenant: str, name: tuple[str, str]) -> SessionRow | None:
    """A tenant's session of this model and version that has not outlived its TTL."""
    cursor, more, now = None, True, time()
    while more:
        rows = await store.rows(tenant, cursor, PAGE, name[0])
        for row in rows:
            if row.version == name[1] and row.expires_at > now:
                return row
        cursor, more = rows[-1].id if rows else None, len(rows) == PAGE
    return None


def _changed(bundle: Bundle, how: str) -> BundleChanged:
    name, version = bundle.manifest.name, bundle.manifest.version
    return BundleChanged(
        f"{bundle.folder} is not the bundle that {how} as {name} {version}: "
        "give a changed model a version of its own"
    )


def _of(model: str | None, bundles: list[Bundle]) -> list[Bundle]:
    found = [bundle for bundle in bundles if model in (None, bundle.manifest.name)]
    if not found:
        there = sorted({bundle.manifest.name for bundle in bundles})
        raise ModelNotFound(f"no bundle of {model!r} under NTM_MODELS, only of {there}")
    return found


def _refuse_twins(bundles: list[Bundle]) -> None:
    found: dict[tuple[str, str], Bundle] = {}
    for bundle in bundles:
        name = (bundle.manifest.name, bundle.manifest.version)
        other = found.setdefault(name, bundle)
        if other is not bundle:
            raise BundleError(f"{bundle.folder} and {other.folder} are both {name[0]} {name[1]}")


async def unload(life: Lifecycle, request: Unload) -> None:
    """Serve a version no longer, or all of a model. Raises ModelNotFound, and VersionInUse while
    one has sessions and `force` is not said: then all stay."""
    first = named(life.hosts, request.model, request.version)
    wanted = [
        host
        for name, host in life.hosts.items()
        if name[0] == request.model and (host is first or request.version is None)
    ]
    if not request.force:
        for host in wanted:
            await _refuse_live(life, host)
    for host in wanted:
        await _unload(life, host)


async def _refuse_live(life: Lifecycle, host: Host) -> None:
    name = (host.manifest.name, host.manifest.version)
    if live := await life.store.count(name):
        raise VersionInUse(f"{live} sessions live on {name[0]} {name[1]}", sessions=live)


async def _unload(life: Lifecycle, host: Host) -> None:
    name = (host.manifest.name, host.manifest.version)
    await upkeep.checkpoint(life, _held_by(life, host))
    if host.scheduler.admitted or life.hosts.get(name) is not host:
        raise VersionInUse(f"requests of {name[0]} {name[1]} are under way")
    for session in _held_by(life, host):
        life.forget(session)
    del life.hosts[name]
    backend = host.runtime.backend
    life.metrics.models.remove(*name, host.manifest.family, backend.name, backend.device)
    log.info("unloaded %s %s", *name)


def _held_by(life: Lifecycle, host: Host) -> list[Session]:
    return [session for session in life.sessions() if session.host is host]
