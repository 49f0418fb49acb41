"""A virtual environment for each peer, from PyPI, made once under build/peers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
INSIDE = HERE / "inside"  # what runs in the peers' own environments
BUILD = HERE.parents[2] / "build" / "peers"
INSTALL_S = 1800
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")


class NotRun(Exception):
    """A server cannot be had here. Says why, in a line."""


def python_of(name: str) -> Path:
    """The Python of the peer's environment, with its requirements-<name>.txt installed.

    Torch comes from TORCH_INDEX where that is set, as in the Makefile. Raises NotRun.
    """
    folder, wanted = BUILD / name, HERE / f"requirements-{name}.txt"
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted.read_text():
        print(f"setting up {folder} from {wanted.name}; once", flush=True)
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        if index := os.environ.get("TORCH_INDEX"):
            _run(str(python), *PIP, "--index-url", index, _pin(wanted, "torch"))
        _run(str(python), *PIP, "-r", str(wanted))
        stamp.write_text(wanted.read_text())
    return python


def clean(**settings: str) -> dict[str, str]:
    """This process's environment without what would lead a peer to our packages, and with one
    thread for each of its own that computes."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return kept | {"OMP_NUM_THREADS": "1"} | settings


def version_of(name: str, package: str) -> str:
    """The version that the peer's requirements pin."""
    return _pin(HERE / f"requirements-{name}.txt", package).split("==")[1]


def _pin(file: Path, package: str) -> str:
    lines = file.read_text().splitlines()
    return next(line for line in lines if line.split("==")[0].split("[")[0] == package)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired as error:
        raise NotRun(f"{' '.join(command[-2:])}: not within {INSTALL_S} s") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NotRun(f"{' '.join(command[-2:])}: {last}")
