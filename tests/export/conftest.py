"""What the tests of export share: one small bundle, with all its files, made once a process."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.bundles import make_bundle

# X=6, Y=4, N=7, M=5, H=8, R=2, W=3: pairwise distinct but for none.
SMALL: dict[str, Any] = {
    "input_size": 6,
    "output_size": 4,
    "memory_size": 7,
    "memory_width": 5,
    "controller_size": 8,
    "read_heads": 2,
    "write_heads": 3,
}


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
