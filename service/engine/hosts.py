"""The models that are served, by name and version, and which of them a session is on."""

from __future__ import annotations

from service.engine.host import Host
from service.errors import ModelNotFound, ModelNotLoaded
from service.versions import order

Hosts = dict[tuple[str, str], Host]  # by name and version, in the order they were loaded


def named(hosts: Hosts, model: str, version: str | None) -> Host:
    """The host of a model, of its newest version where none is named. Raises NtmError."""
    found = [
        host
        for (name, number), host in hosts.items()
        if name == model and version in (None, number)
    ]
    if found:
        return max(found, key=lambda host: order(host.manifest.version))
    loaded = ", ".join(f"{name} {number}" for name, number in hosts)
    expected = f"one of {loaded}" if loaded else "a loaded model, of which there is none"
    got = model if version is None else f"{model} {version}"
    raise ModelNotFound(f"expected {expected}, got {got!r}", expected=expected, got=got)


def exactly(hosts: Hosts, model: str, version: str, fingerprint: str) -> Host:
    """The host of the very bundle that a session ran on. Raises ModelNotLoaded."""
    host = hosts.get((model, version))
    if host is None or host.bundle.fingerprint != fingerprint:
        raise ModelNotLoaded(f"the session needs {model} {version} as it began on it")
    return host
