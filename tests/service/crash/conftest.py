"""Two versions of a model, and what they come to in this process."""

import shutil
from pathlib import Path

import pytest

from service.settings import ZOO
from tests.bundles import make_bundle
from tests.service.crash.reference import Versions, reference_of


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained copy model as version 1; as version 2 one with other weights, alike in shape."""
    folder = tmp_path_factory.mktemp("bundles")
    shutil.copytree(Path(ZOO) / "copy" / "bundle", folder / "1")
    make_bundle(folder / "2", version="2", seed=2)
    return folder


@pytest.fixture(scope="session")
def versions(bundles: Path) -> Versions:
    """The reference of both."""
    return Versions({name: reference_of(bundles / name) for name in ("1", "2")})
