"""A front with gRPC in this process, around an engine that answers only when told to."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from service.app import create_app
from service.front_state import KEY, FrontState
from service.grpc.schema import SERVICE
from service.grpc.server import serving
from service.link import EngineLink
from service.results import PredictResult
from service.settings import Settings
from tests.service.fake_engine import FakeEngine
from tests.service.grpc.conftest import kept_port, request, rows, service_pb2

RESULT = PredictResult(np.arange(5, dtype=np.float32).tobytes(), (1, 5), "2")
PREDICT = request(rows(1)).SerializeToString()
OPTIONS: Any = (("grpc.enable_retries", 0),)


class Front:
    """A front with gRPC, and a channel to it."""

    def __init__(self, state: FrontState, engine: FakeEngine, channel: Any) -> None:
        self.state, self.engine, self.channel = state, engine, channel

    def unary(self, method: str = "ModelInfer") -> Any:
        return self.channel.unary_unary(f"/{SERVICE}/{method}", None, None)

    def stream(self) -> Any:
        return self.channel.stream_stream(
            f"/{SERVICE}/ModelStreamInfer",
            None,
            service_pb2.ModelStreamInferResponse.FromString,
        )

    def count(self, method: str, code: str) -> float:
        """How often this method got this code."""
        labels = {"method": method, "code": code}
        return (
            self.state.metrics.registry.get_sample_value("ntm_grpc_requests_total", labels) or 0.0
        )


@asynccontextmanager
async def front(folder: Path, **settings: Any) -> AsyncGenerator[Front]:
    with kept_port() as port:
        async with FakeEngine(str(folder / "engine.sock")) as engine:
            options = Settings(grpc_port=port, engine_socket=engine.path, **settings)
            link = EngineLink(engine.path, options.request_timeout_s)
            state: FrontState = create_app(options, link).state[KEY]
            await link.open()
            await engine.until(lambda: engine.connected)
            address = f"127.0.0.1:{port}"
            async with (
                serving(state),
                grpc.aio.insecure_channel(address, options=OPTIONS) as channel,
            ):
                yield Front(state, engine, channel)
            await link.close()


async def failed(call: Any) -> Any:
    """The error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value


def cancelled(engine: FakeEngine) -> list[int]:
    """The calls that the engine was told to give up."""
    return [call.cancel for call in engine.calls if call.cancel]
