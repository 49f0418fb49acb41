"""Which server is which, by name."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from export.bundle import Bundle
from tests.bench.peers import mosec_peer, ours, ray_peer, triton_peer
from tests.bench.peers.started import Running

MEMORY = {"NTM_STORE": "memory", "NTM_DURABILITY": "off"}
SYNC = {"NTM_DURABILITY": "sync", "NTM_SQLITE_SYNC": "full"}
TRANSPORTS = {
    "ntm": "json",
    "ntm-socket": "socket",
    "ntm-socket-packed": "packed",
    "ntm-binary": "binary",
}


class Kit(NamedTuple):
    """What servers are made of. step: the folder that `state_table.py` reads; settings: more
    NTM_ settings for ours."""

    bundle: Bundle
    step: Path
    settings: dict[str, str]


def opened(name: str, kit: Kit, folder: Path, rows: int) -> AbstractContextManager[Running]:
    """The server of that name, for requests of so many rows; `folder` takes what it writes.

    Entering it raises NotRun.
    """
    if name == "mosec":
        return mosec_peer.running(folder, kit.step, rows, kit.bundle.manifest.input.dims[0])
    if name == "ntm-sync":
        store = {"NTM_STORE": f"sqlite://{folder / 'sessions.db'}"}
        return ours.running(folder, kit.bundle, SYNC | store | kit.settings, "json")
    if name in TRANSPORTS:
        return ours.running(folder, kit.bundle, MEMORY | kit.settings, TRANSPORTS[name])
    if name == "triton":
        return triton_peer.running(folder, kit.step, kit.bundle)
    assert name == "ray", name
    return ray_peer.running(folder, kit.step, kit.bundle.manifest.input.dims[0])
