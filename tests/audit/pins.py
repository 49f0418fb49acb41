"""Are the pins of the locks there to be installed, as they are, and do they fit each other?"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

Pins = dict[str, str]  # version by name
ASK_S = 600
# torch pins its own CUDA packages, which differ from index to index and so stand in no lock; pip
# comes with every environment.
UNLOCKED = ("cuda-", "nvidia-", "triton", "pip")
YANKED = re.compile(r"yanked version: '(\S+)' candidate \(version (\S+)")


class Offer(NamedTuple):
    """What the index offers for a pin."""

    hashed: bool
    requires: tuple[str, ...]


Offers = dict[tuple[str, str], Offer]


def read(lock: Path) -> Pins:
    """The pins of a lock."""
    lines = (line.strip() for line in lock.read_text().splitlines())
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def groups(locks: list[Pins]) -> Iterator[Pins]:
    """Every pin once, in groups that have no name twice."""
    left = {pin for pins in locks for pin in pins.items()}
    while left:
        group = dict(sorted(left))
        yield group
        left -= set(group.items())


def offered(pins: Pins) -> tuple[Offers, str]:
    """What pip finds for the pins, without installing them, and its warnings.

    Raises RuntimeError where a pin is not to be had.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted, report = Path(folder, "wanted"), Path(folder, "report")
        wanted.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()))
        command = [
            sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--ignore-installed",
            "--quiet", "--report", str(report), "--requirement", str(wanted),
        ]  # fmt: skip
        ended = subprocess.run(command, capture_output=True, text=True, timeout=ASK_S, check=False)
        if ended.returncode:
            raise RuntimeError(ended.stderr)
        return offers(json.loads(report.read_text())), ended.stderr


def offers(report: dict[str, Any]) -> Offers:
    """A report of pip's."""
    found: Offers = {}
    for item in report["install"]:
        metadata, archive = item["metadata"], item["download_info"].get("archive_info", {})
        pin = canonicalize_name(metadata["name"]), metadata["version"].split("+")[0]
        hashed = "sha256" in archive.get("hashes", {})
        found[pin] = Offer(hashed, tuple(metadata.get("requires_dist", ())))
    return found


def problems(pins: Pins, found: Mapping[tuple[str, str], Offer]) -> Iterator[str]:
    """What is wrong with the pins of one lock."""
    for pin in pins.items():
        told = f"{pin[0]}=={pin[1]}"
        if pin not in found:
            yield f"{told}: the index has none"
            continue
        if not found[pin].hashed:
            yield f"{told}: the index tells no sha256 of it"
        for text in found[pin].requires:
            unmet = _unmet(Requirement(text), pins)
            if unmet is not None:
                yield f"{told} needs {text}: {unmet}"


def _unmet(wanted: Requirement, pins: Pins) -> str | None:
    name = canonicalize_name(wanted.name)
    if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
        return None
    if name not in pins:
        free = name in UNLOCKED or name.startswith(UNLOCKED[:2])
        return None if free else "the lock has none"
    if wanted.specifier.contains(pins[name], prereleases=True):
        return None
    return f"the lock has {pins[name]}"


def yanked(warnings: str) -> list[str]:
    """What pip warns of in these lines that it was taken back."""
    return [f"{name}=={version}: it was yanked" for name, version in YANKED.findall(warnings)]
