"""Models coming and going while the server runs."""

from __future__ import annotations

import asyncio
import logging

from export.bundle import Bundle, BundleError, read_bundle
from service.engine.host import Host
from service.engine.lifecycle import Lifecycle
from service.engine.models import load_host
from service.engine.runtime import BackendError
from service.errors import BundleChanged, InvalidRequest, VersionInUse
from service.folders import find_bundles
from service.messages import Unload

log = logging.getLogger("ntm.engine")


async def find_new(life: Lifecycle) -> list[Host]:
    """Load the bundles that are new under NTM_MODELS, beside those that run.

    Raises BundleChanged where a bundle is another than the one loaded under its name and version:
    its sessions carry the fingerprint of theirs. InvalidRequest for one that cannot be served.
    Then none is loaded.
    """
    try:
        bundles = [read_bundle(folder) for folder in find_bundles(life.settings.models)]
        for bundle in bundles:
            name = (bundle.manifest.name, bundle.manifest.version)
            loaded = life.hosts.get(name)
            if loaded is not None and loaded.bundle.fingerprint != bundle.fingerprint:
                raise BundleChanged(
                    f"{bundle.folder} is not the bundle that runs as {name[0]} {name[1]}: "
                    "give a changed model a version of its own"
                )
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


def _refuse_twins(bundles: list[Bundle]) -> None:
    found: dict[tuple[str, str], Bundle] = {}
    for bundle in bundles:
        name = (bundle.manifest.name, bundle.manifest.version)
        other = found.setdefault(name, bundle)
        if other is not bundle:
            raise BundleError(f"{bundle.folder} and {other.folder} are both {name[0]} {name[1]}")


async def unload(life: Lifecycle, request: Unload) -> None:
    """Serve a version no longer. Raises ModelNotFound, and VersionInUse while it has sessions
    and `force` is not said."""
    host = life.host(request.model, request.version)
    name = (host.manifest.name, host.manifest.version)
    live = await life.store.count(name)
    if live and not request.force:
        raise VersionInUse(f"{live} sessions live on {name[0]} {name[1]}", sessions=live)
    await life.checkpoint(life.held_by(host))
    if host.scheduler.admitted or life.hosts.get(name) is not host:
        raise VersionInUse(f"requests of {name[0]} {name[1]} are under way", sessions=live)
    for session in life.held_by(host):
        life.forget(session)
    del life.hosts[name]
    backend = host.runtime.backend
    life.metrics.models.remove(*name, host.manifest.family, backend.name, backend.device)
    log.info("unloaded %s %s", *name)
