"""What the tests of the service share: bundles, and one real server on them."""

import fcntl
import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest
import safetensors.numpy
from msgspec.structs import replace

from export.bundle import INITIAL_STATE, MANIFEST, Manifest, file_entry, write_manifest
from service.settings import ZOO
from tests.service.serving import Server, served


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of an untrained network, 7 -> 5, made once for all processes of a test run."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "small-bundle"
    with open(shared / "small-bundle.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "manifest.json").exists():
            from tests.bundles import make_bundle

            make_bundle(
                folder,
                name="small",
                input_size=7,
                output_size=5,
                memory_size=16,
                memory_width=4,
                controller_size=12,
            )
    return folder


def next_version(bundle: Path, folder: Path) -> None:
    """The same network as version 2, which begins with another memory."""
    shutil.copytree(bundle, folder)
    state = safetensors.numpy.load_file(folder / INITIAL_STATE)
    data = safetensors.numpy.save(state | {"memory": state["memory"] + np.float32(0.25)})
    (folder / INITIAL_STATE).write_bytes(data)
    manifest = read_manifest(folder)
    files = manifest.files | {INITIAL_STATE: file_entry(data)}
    write_manifest(folder, replace(manifest, version="2", files=files))


def read_manifest(folder: Path) -> Manifest:
    """A manifest whose files need not fit it."""
    return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)


@pytest.fixture(scope="session")
def models(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bundles: the trained copy model (9 -> 8), and small (7 -> 5) in two versions."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(Path(ZOO) / "copy" / "bundle", folder / "copy")
    shutil.copytree(small, folder / "small-1")
    next_version(small, folder / "small-2")
    return folder


@pytest.fixture(scope="session")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A server that the tests share, so none may stop it."""
    with served(tmp_path_factory.mktemp("server"), models) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """A client of the shared server."""
    with server.client() as opened:
        yield opened


@pytest.fixture
def session(client: httpx.Client) -> str:
    """The path of a fresh session of the copy model."""
    created = client.post("/v1/models/copy/sessions")
    assert created.status_code == 201, created.text
    return f"/v1/sessions/{created.json()['id']}"
