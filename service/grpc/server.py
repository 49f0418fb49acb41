"""The gRPC server of one front, in the event loop and on the link of its HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from service.front_state import FrontState
from service.grpc.handlers import Handlers
from service.settings import Settings

MAX_STREAMS = 1024  # calls of one connection at a time; further ones wait
KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS = 60_000, 20_000  # finds clients that vanished
MIN_PING_MS = 5_000  # how often a client may ask the same


@contextlib.asynccontextmanager
async def serving(front: FrontState) -> AsyncGenerator[int]:
    """Listen on NTM_GRPC_PORT, and from the moment the front drains take nothing new.

    Gives the port. Calls that do not end within NTM_DRAIN_S are cancelled. Raises OSError where
    it cannot listen.
    """
    settings = front.settings
    server: Any = aio.server(options=_options(settings.max_body_bytes))
    handlers = Handlers(front)
    server.add_generic_rpc_handlers((handlers.generic(), handlers.unknown()))
    try:
        port = _listen(server, settings)
    except RuntimeError as error:
        raise OSError(f"NTM_GRPC_PORT: cannot listen on {_address(settings)}") from error
    await server.start()

    async def drain() -> None:
        await front.draining.wait()
        await server.stop(settings.drain_s)

    draining = asyncio.create_task(drain(), name="grpc drain")
    try:
        yield port
    finally:
        front.draining.set()
        await draining


def _listen(server: Any, settings: Settings) -> int:
    """The port. Raises RuntimeError where it cannot be had."""
    if not settings.tls_cert:
        return server.add_insecure_port(_address(settings))
    pair = (Path(settings.tls_key).read_bytes(), Path(settings.tls_cert).read_bytes())
    return server.add_secure_port(_address(settings), grpc.ssl_server_credentials([pair]))


def _address(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{settings.grpc_port}"


def _options(max_message_bytes: int) -> tuple[tuple[str, int], ...]:
    return (
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", MAX_STREAMS),
        ("grpc.so_reuseport", 1),  # all fronts accept on one port, which the supervisor holds
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_MS),
    )
