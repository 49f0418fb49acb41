"""A server whose models schemathesis may ask about, and one that comes and goes."""

from collections.abc import Generator
from typing import Any

import pytest

from tests.bundles import make_bundle
from tests.service.conftest import next_version
from tests.service.schema.narrowing import MODEL, ROWS, SPARE
from tests.service.serving import Server, served

SIZES: dict[str, Any] = {"input_size": 7, "output_size": 5, "memory_size": 6, "memory_width": 4}


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A server; afterwards it must never have failed, nor any of its processes have ended."""
    folder = tmp_path_factory.mktemp("fuzzed")
    models = folder / "models"
    make_bundle(models / "first", name=MODEL, controller_size=12, **SIZES)
    next_version(models / "first", models / "second")
    make_bundle(models / "spare", name=SPARE, controller_size=12, **SIZES)
    with served(folder, models, NTM_MAX_ROWS=str(ROWS)) as server:
        before = children(server)
        yield server
        assert children(server) == before, server.text()
        said = server.text()
    for word in ("Traceback", " ERROR ", " CRITICAL "):
        assert word not in said, said


def children(server: Server) -> list[int]:
    """The engine's and the front's process ids."""
    return server.children("service.engine") + server.children("service.front")
