"""A whole front in this process, with HTTP, WebSockets and gRPC on real sockets, around an engine
that refuses what it is told to refuse."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from service import front
from service.errors import NtmError
from service.front_state import KEY, FrontState
from service.requests import Describe
from service.results import SessionInfo
from service.settings import Settings
from tests.service.fake_engine import FakeEngine
from tests.service.grpc.conftest import kept_port

INFO = SessionInfo("abc", "copy", "1", 0, 1, "8kq3", 0.0, 0.0, 1e10, "device", 64)


class RefusingEngine(FakeEngine):
    """Refuses every call with `error`; but those of the kinds in `granted` it answers."""

    error: NtmError
    granted: dict[type, Any]

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.granted = {}

    def data_received(self, data: bytes) -> None:
        known = len(self.calls)
        super().data_received(data)
        for call in self.calls[known:]:
            if type(call.request) in self.granted:
                self.reply(call.number, self.granted[type(call.request)])
            elif call.request is not None:
                self.fail(call.number, self.error)

    def grant_streams(self) -> None:
        """Let WebSockets be opened."""
        self.granted[Describe] = INFO


class Fronting(msgspec.Struct):
    """Where it listens. `port`: of gRPC; `connections`: uvicorn's, that are open now."""

    engine: RefusingEngine
    state: FrontState
    url: str
    port: int
    connections: set[Any]

    def client(self) -> httpx.AsyncClient:
        """A client of its HTTP."""
        return httpx.AsyncClient(base_url=self.url, timeout=20)


@asynccontextmanager
async def fronting(folder: Path, **settings: Any) -> AsyncGenerator[Fronting]:
    """A front, until the end of the block."""
    with kept_port() as port, socket.create_server(("127.0.0.1", 0)) as listener:
        engine = RefusingEngine(str(folder / "engine.sock"))
        async with engine:
            options = Settings(grpc_port=port, engine_socket=engine.path, **settings)
            server = front.server(options)
            app: Any = server.config.app
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            await engine.until(lambda: engine.connected)
            while not server.started:
                await asyncio.sleep(0.005)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            connections: set[Any] = server.server_state.connections
            try:
                yield Fronting(engine, app.state[KEY], url, port, connections)
            finally:
                server.should_exit = True
                await serving
