"""One server of the accumulator, the copy model and two versions of a small one, on SQLite."""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from numpy.typing import NDArray

from tests.service.serving import Server, served
from tests.service.v2.accumulator import make_accumulator

Infer = Callable[..., triton.InferResult]


@pytest.fixture(scope="session")
def accumulator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The accumulator's bundle."""
    folder = tmp_path_factory.mktemp("bundles") / "accumulator"
    make_accumulator(folder)
    make_accumulator(folder.parent / "simple", name="simple_sequence", rows=("INPUT", "OUTPUT"))
    return folder


@pytest.fixture(scope="session")
def server(
    models: Path, accumulator: Path, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Server]:
    """A server that the tests share, so none may stop it."""
    folder = tmp_path_factory.mktemp("v2")
    store = f"sqlite:///{folder}/sessions.db"
    with served(
        folder, models, NTM_MODELS=f"{models}:{accumulator.parent}", NTM_STORE=store
    ) as running:
        yield running


@pytest.fixture
def tritonclient(server: Server) -> Iterator[triton.InferenceServerClient]:
    """Triton's own client of the shared server."""
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as opened:
        yield opened


def inputs_of(values: NDArray[np.float32], binary: bool = True) -> list[triton.InferInput]:
    """The one input of every model here."""
    tensor = triton.InferInput("x", list(values.shape), "FP32")
    tensor.set_data_from_numpy(values, binary_data=binary)
    return [tensor]


def number(value: float) -> NDArray[np.float32]:
    """A row of the accumulator: [1, 1]."""
    return np.array([[value]], np.float32)


def bits(seed: int, *dims: int) -> NDArray[np.float32]:
    """Rows of the copy model: (*dims, 9)."""
    return np.random.default_rng(seed).integers(0, 2, (*dims, 9)).astype(np.float32)
