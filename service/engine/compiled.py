"""Steps compiled for this machine: where they lie, and which of them may be loaded. No torch.

    <cache>/aot/<key>/step.pt2       native code, as AOTInductor packages it
    <cache>/aot/<key>/compiled.json  of which bundle and by what, its hash, how far from eager torch

`ntm compile` builds them here, from an entry's weights; none is ever taken from a bundle. So what
guards them is who may write the cache: it has to be this user's or root's, and nobody else's to
write. A key is of the bundle's manifest, torch's version and the processor's instructions, so that
what was built for another of them is not found.
"""

from __future__ import annotations

import hashlib
import os
import platform
import stat
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

STEP = "step.pt2"
CARD = "compiled.json"
KEY_LENGTH = 32


class NotCompiled(Exception):
    """There is no compiled step that may be loaded. Says why."""


class Compiled(msgspec.Struct, frozen=True, kw_only=True):
    """A compiled step, as its card tells."""

    bundle: str  # fingerprint of its manifest
    name: str
    version: str
    torch: str
    sha256: str
    nbytes: int
    compile_s: float
    parity: float  # largest |difference| of a step from eager torch's, over `rows`
    drift: float  # the same after `rows`, each from its own state
    rows: int


def cache_folder(setting: str) -> Path:
    """The folder of NTM_CACHE; where that is empty, ntm-serve in the user's cache."""
    if setting:
        return Path(setting)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ntm-serve"


def folder_of(cache: Path, fingerprint: str) -> Path:
    """Where the compiled step of a bundle lies, for this machine. Raises NotCompiled without
    torch, whose version it depends on."""
    parts = (fingerprint, torch_version(), *_instructions())
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return cache / "aot" / key[:KEY_LENGTH]


def torch_version() -> str:
    """Without an import of it. Raises NotCompiled where there is no torch."""
    try:
        return version("torch")
    except PackageNotFoundError:
        raise NotCompiled("torch is not installed, and a compiled step needs it") from None


def find(cache: Path, fingerprint: str) -> Path:
    """The compiled step of the bundle with that fingerprint. Raises NotCompiled."""
    folder = folder_of(cache, fingerprint)
    if not folder.is_dir():
        raise NotCompiled("no step of this bundle is compiled for this machine and this torch")
    for path in (cache, folder.parent, folder, folder / STEP, folder / CARD):
        _ours(path)
    card = read_card(folder)
    data = (folder / STEP).read_bytes()
    if (len(data), hashlib.sha256(data).hexdigest()) != (card.nbytes, card.sha256):
        raise NotCompiled(f"{folder / STEP} is not what was compiled: compile it anew")
    return folder / STEP


def read_card(folder: Path) -> Compiled:
    """What a compiled step's card tells. Raises NotCompiled where it is none."""
    try:
        return msgspec.json.decode((folder / CARD).read_bytes(), type=Compiled)
    except (OSError, msgspec.DecodeError) as error:
        raise NotCompiled(f"{folder / CARD}: {error}") from error


def _ours(path: Path) -> None:
    """Raises NotCompiled where somebody else could have written it."""
    try:
        found = path.lstat()
    except OSError as error:
        raise NotCompiled(f"{path}: {error.strerror}") from error
    if stat.S_ISLNK(found.st_mode) and path.name in (STEP, CARD):
        raise NotCompiled(f"{path} should be a plain file, is a link")
    found = path.stat()
    if found.st_uid not in (0, os.getuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise NotCompiled(f"{path} should be this user's, and writable by nobody else")


def _instructions() -> tuple[str, ...]:
    """The processor's kind and instructions, for which native code is built."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return platform.system(), platform.machine(), *sorted(flags.partition(":")[2].split())
