"""On what, with which versions and by which command a table was measured."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path


def circumstances(module: str, argv: list[str], packages: tuple[str, ...]) -> str:
    """Two lines. module: what `python -m` ran."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    command = " ".join([f"python -m {module}", *argv])
    machine = f"{os.cpu_count()} cores of {model}, Python {platform.python_version()}"
    load = f"load average {os.getloadavg()[0]:.1f} at the start"
    return f"{command}\n{machine}, {versions}; {load}"
