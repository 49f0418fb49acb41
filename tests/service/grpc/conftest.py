"""What the tests of gRPC share: a server with it, and clients of both its protocols."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as published

from service.grpc.convert import set_parameter
from service.grpc.schema import SERVICE
from tests.service.conftest import next_version
from tests.service.serving import Server, served

X, Y = 7, 5  # of the small bundle
service_pb2: Any = published  # its messages are made as it is imported


@contextmanager
def kept_port() -> Generator[int]:
    """A free port that nobody else draws, and a server may take."""
    with socket.socket() as holder:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            holder.setsockopt(socket.SOL_SOCKET, option, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def rows(count: int, seed: int = 1) -> np.ndarray:
    """(count, X) for the small model."""
    return np.random.default_rng(seed).random((count, X), np.float32)


def tensor(values: np.ndarray) -> Any:
    """Rows as the client's input tensor."""
    made = triton.InferInput("x", list(values.shape), "FP32")
    made.set_data_from_numpy(values)
    return made


def request(values: np.ndarray | None = None, model: str = "small", **parameters: Any) -> Any:
    """A ModelInferRequest, for what Triton's client does not let one say."""
    made = service_pb2.ModelInferRequest(model_name=model)
    if values is not None:
        made.inputs.add(name="x", datatype="FP32", shape=values.shape)
        made.raw_input_contents.append(values.tobytes())
    for name, value in parameters.items():
        set_parameter(made.parameters[name], value)
    return made


def unary(channel: grpc.Channel, method: str = "ModelInfer") -> Any:
    """A method, bytes in and bytes out."""
    return channel.unary_unary(f"/{SERVICE}/{method}", None, None)


def status_of(error: triton.InferenceServerException) -> str:
    """The status code that a client's error tells, without its class."""
    return str(error.status()).removeprefix("StatusCode.")


@pytest.fixture(scope="session")
def grpc_port() -> Iterator[int]:
    with kept_port() as port:
        yield port


@pytest.fixture(scope="session")
def grpc_server(
    small: Path, grpc_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with gRPC that the tests share, so none may stop it."""
    models = tmp_path_factory.mktemp("grpc-models")
    shutil.copytree(small, models / "small-1")
    next_version(small, models / "small-2")
    folder = tmp_path_factory.mktemp("grpc-server")
    with served(folder, models, NTM_GRPC_PORT=str(grpc_port)) as running:
        yield running


@pytest.fixture
def address(grpc_server: Server, grpc_port: int) -> str:
    """Where the shared server listens for gRPC."""
    return f"127.0.0.1:{grpc_port}"


@pytest.fixture
def client(address: str) -> Iterator[Any]:
    """Triton's own client of the shared server."""
    with triton.InferenceServerClient(address) as opened:
        yield opened


@pytest.fixture
def channel(address: str) -> Iterator[grpc.Channel]:
    """A channel to the shared server, for bytes."""
    with grpc.insecure_channel(address) as opened:
        yield opened


@pytest.fixture
def http(grpc_server: Server) -> Iterator[httpx.Client]:
    """An HTTP client of the shared server."""
    with grpc_server.client() as opened:
        yield opened
