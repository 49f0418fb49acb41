"""What the tests of export share: one small bundle, with all its files, made once a process."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from export.step import StepModule
from model.families import Network, build
from tests.bundles import make_bundle

# An export writes thousands of records of itself, which pytest would format and keep.
logging.getLogger("torch.__trace").propagate = False

# X=6, Y=4, N=7, M=5, H=8, R=2, W=3: pairwise distinct, and N is no multiple of a vector's width.
SMALL: dict[str, Any] = {
    "input_size": 6,
    "output_size": 4,
    "memory_size": 7,
    "memory_width": 5,
    "controller_size": 8,
    "read_heads": 2,
    "write_heads": 3,
}


def small_step(traced: bool = False, **changes: Any) -> StepModule:
    """The step of the small bundle's network, or of one that differs from it."""
    torch.manual_seed(1)
    return StepModule(cast(Network, build("ntm", SMALL | changes)), "sigmoid", traced)


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported bundle. Read only: tests that change one take `bundle`."""
    folder = tmp_path_factory.mktemp("small") / "bundle"
    make_bundle(folder, name="small", torchscript=True, **SMALL)
    return folder


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the small bundle that a test may spoil."""
    return Path(shutil.copytree(small_bundle, tmp_path / "bundle"))
