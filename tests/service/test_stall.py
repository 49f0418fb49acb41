"""One who reads nothing of what he is sent is cut off; one who reads slowly is not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from service import stall
from service.stall import Stall

SENT = b"x" * (16 << 20)  # more than the kernel keeps


class Sender(asyncio.Protocol):
    """Sends all at once, and watches whether it is taken."""

    def __init__(self, lost: asyncio.Event) -> None:
        self._lost, self._stall = lost, Stall()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(SENT)

    def pause_writing(self) -> None:
        self._stall.begin(self._transport)

    def resume_writing(self) -> None:
        self._stall.end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stall.end()
        self._lost.set()


@asynccontextmanager
async def reader(lost: asyncio.Event) -> AsyncIterator[socket.socket]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Sender(lost), "127.0.0.1", 0)
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, server.sockets[0].getsockname())
        yield client
    server.close()
    await server.wait_closed()


async def test_one_who_reads_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stall, "STALL_S", 0.05)
    lost = asyncio.Event()
    async with reader(lost):
        await asyncio.wait_for(lost.wait(), 20)


async def test_one_who_reads_a_little_at_a_time_gets_all_of_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stall, "STALL_S", 1.0)
    lost, loop, got = asyncio.Event(), asyncio.get_running_loop(), 0
    async with reader(lost) as client:
        begun = loop.time()
        while got < len(SENT):
            part = await asyncio.wait_for(loop.sock_recv(client, 1 << 20), 20)
            assert part, f"cut off after {got} bytes"
            got += len(part)
            await asyncio.sleep(0.15)  # longer in all than one may read nothing
        assert loop.time() - begun > stall.STALL_S
    await asyncio.wait_for(lost.wait(), 20)
