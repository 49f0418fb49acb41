"""What every server serves: the model's bundle, exported anew with TorchScript, by `ntm export`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from export.bundle import STEP_ONNX, STEP_TORCHSCRIPT, Bundle, read_bundle
from export.errors import BundleError
from tests.bench.peers.environments import BUILD
from tests.bench.peers.inside.state_table import INITIAL, STEP

EXPORT_S = 300


def exported(entry: Path) -> Bundle:
    """The bundle in build/peers/step, exported unless it is there. Raises BundleError."""
    folder = BUILD / "step"
    if not _is_of(folder, read_bundle(entry / "bundle")):
        command = [sys.executable, "-m", "service.cli", "export", str(entry), "--torchscript"]
        command += ["--out", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=EXPORT_S)
        assert done.returncode == 0, done.stderr
    return read_bundle(folder)


def _is_of(folder: Path, committed: Bundle) -> bool:
    """Is there already the same step, and TorchScript with it?"""
    try:
        files = read_bundle(folder).manifest.files
    except BundleError:
        return False
    return STEP_TORCHSCRIPT in files and files[STEP_ONNX] == committed.manifest.files[STEP_ONNX]


def for_peers(bundle: Bundle, folder: Path) -> Path:
    """The step and the state of a new session as `state_table.py` reads them, in `folder`."""
    folder.mkdir(exist_ok=True)
    (folder / STEP).write_bytes(bundle.read(STEP_TORCHSCRIPT))
    x = np.zeros(bundle.manifest.input.dims, np.float32)
    np.savez(folder / INITIAL, x, *bundle.initial_state().values())
    return folder
