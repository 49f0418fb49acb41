"""What is attacked: a real server with few slots, and what must hold when an attack is over."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.settings import ZOO
from tests.service.grpc.conftest import kept_port
from tests.service.serving import Server, served


@pytest.fixture(scope="session")
def grpc_port() -> Iterator[int]:
    with kept_port() as port:
        yield port


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the server may touch: its models, its database and its log."""
    return tmp_path_factory.mktemp("attacked")


@pytest.fixture(scope="session")
def attacked(folder: Path, grpc_port: int) -> Iterator[Server]:
    """The copy model on SQLite; four slots and little host memory, so that states move about."""
    shutil.copytree(Path(ZOO) / "copy" / "bundle", folder / "models" / "copy")
    settings = {
        "NTM_STORE": f"sqlite://{folder}/sessions.db",
        "NTM_DURABILITY": "off",  # what is attacked is not how fast the disk syncs
        "NTM_MAX_EXPANDED_BYTES": "4000000",  # half of NTM_MAX_BODY_BYTES
        "NTM_SLOTS": "4",
        "NTM_HOST_STATE_BYTES": "40000",
        "NTM_GRPC_PORT": str(grpc_port),
    }
    with served(folder, folder / "models", **settings) as running:
        yield running


@pytest.fixture
def target(attacked: Server) -> Iterator[httpx.Client]:
    """A client of the server. Afterwards the same processes serve, and nothing was their defect."""
    processes = attacked.children("service.")
    with attacked.client() as opened:
        yield opened
        assert opened.get("/health/ready").status_code == 200
        assert 'ntm_errors_total{code="internal"' not in opened.get("/metrics").text
    assert attacked.children("service.") == processes and len(processes) == 2
    assert "Traceback" not in attacked.text()


@pytest.fixture
def session(target: httpx.Client) -> str:
    """The path of a fresh session."""
    created = target.post("/v1/models/copy/sessions")
    assert created.status_code == 201, created.text
    return f"/v1/sessions/{created.json()['id']}"
