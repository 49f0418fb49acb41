"""The model repository extension: what lies under NTM_MODELS, and loading and unloading of it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from export.bundle import MANIFEST, BundleError, Manifest
from service import names
from service.errors import InvalidRequest
from service.folders import find_bundles
from service.front_state import FrontState
from service.requests import Reload, Unload
from service.v2 import metadata

NOTHING = msgspec.msgpack.Decoder(None)


class IndexEntry(msgspec.Struct, frozen=True):
    """state: READY, or UNAVAILABLE for the reason."""

    name: str
    version: str
    state: str
    reason: str


async def index(front: FrontState, ready_only: bool, request_id: str) -> list[IndexEntry]:
    """Every model and version that is loaded, or could be. Raises NtmError."""
    infos = await metadata.loaded(front, request_id)
    ready = [(info.manifest.name, info.manifest.version) for info in infos]
    found = {name: IndexEntry(*name, "READY", "") for name in ready}
    if not ready_only:
        for name in await asyncio.to_thread(_lying_there, front.settings.models):
            found.setdefault(name, IndexEntry(*name, "UNAVAILABLE", "unloaded"))
    return [found[name] for name in sorted(found)]


async def load(front: FrontState, name: str, parameters: dict[str, Any], request_id: str) -> None:
    """Load what is new of a model under NTM_MODELS. Raises NtmError."""
    _refuse(parameters, ())
    names.model(name)
    await front.link.call(metadata.MODELS, Reload(name), request_id=request_id)


async def unload(front: FrontState, name: str, parameters: dict[str, Any], request_id: str) -> None:
    """Serve a model no longer, in any version. Raises NtmError: VersionInUse while sessions live
    on it and the parameter `force` is not true."""
    _refuse(parameters, ("force", "unload_dependents"))
    names.model(name)
    force = parameters.get("force", False)
    if not isinstance(force, bool):
        raise InvalidRequest(f"force: expected true or false, got {force!r}")
    await front.link.call(NOTHING, Unload(name, None, force), request_id=request_id)


def _refuse(parameters: dict[str, Any], known: tuple[str, ...]) -> None:
    """A model is what its bundle says: no request brings a configuration or files of its own."""
    unknown = [name for name in parameters if name not in known]
    if unknown:
        expected = f"none but {', '.join(known)}" if known else "none"
        raise InvalidRequest(f"parameters: expected {expected}, got {unknown}")


def _lying_there(folders: tuple[str, ...]) -> list[tuple[str, str]]:
    try:
        places = find_bundles(folders)
    except BundleError:  # a folder that was emptied since: nothing can be loaded from it
        return []
    found: list[tuple[str, str]] = []
    for place in places:
        try:
            manifest = msgspec.json.decode((place / MANIFEST).read_bytes(), type=Manifest)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue  # loading it would say what is wrong with it
        found.append((manifest.name, manifest.version))
    return found
