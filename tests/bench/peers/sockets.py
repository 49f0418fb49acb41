"""The load generator's WebSocket: a session a connection, JSON or MessagePack."""

from __future__ import annotations

import asyncio
import json
import struct
from time import perf_counter
from typing import cast

import msgspec
import numpy as np

from service.engine.runtime import Floats
from tests.bench.peers.clients import Connect, Load
from tests.bench.peers.wires import Wire

TEXT, BINARY, PING = 0x81, 0x82, 0x89
NO_MASK = bytes(4)  # a client must mask; with zeros that leaves the bytes as they are
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class SocketConnection(asyncio.Protocol):
    """What `Connection` is to HTTP; its share is one session, whose path it is opened at."""

    def __init__(self, load: Load, sessions: list[int], paths: list[str]) -> None:
        (self.session,) = sessions
        self._load, self.share, self._path = load, sessions, paths[self.session]
        self._rest, self.sent = b"", 0.0
        self._greeted = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(HANDSHAKE.format(path=self._path).encode())

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if self._transport is not None:
            error = exc or ConnectionResetError("the server hung up")
            if not self._greeted.done():
                self._greeted.set_exception(error)
            self._load.lost(error)

    async def ready(self) -> None:
        """Until the server has said where the session stands."""
        await self._greeted

    def send(self, since: float) -> None:
        """See `Client`."""
        self.sent = since
        assert self._transport is not None
        self._transport.write(self._load.request(self.session))

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        data = self._rest + data
        if not self._greeted.done():
            data = self._after_handshake(data)
        while (parts := split(data)) is not None:
            kind, payload, data = parts
            if kind == PING:
                continue
            if self._greeted.done():
                self._load.answered(self, payload, perf_counter())
            else:
                self._greeted.set_result(None)
        self._rest = data

    def close(self) -> None:
        """See `Client`."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _after_handshake(self, data: bytes) -> bytes:
        if not data.startswith(b"HTTP/1.1 101 "):
            return data  # the rest of the greeting
        end = data.find(b"\r\n\r\n")
        return data[end + 4 :] if end >= 0 else data


def split(data: bytes) -> tuple[int, bytes, bytes] | None:
    """The first whole frame of the server's, its first byte and its payload, and what follows."""
    if len(data) < 2:
        return None
    begin, length = 2, data[1]
    if length == 126:
        begin, length = 4, int.from_bytes(data[2:4])
    elif length == 127:
        begin, length = 10, int.from_bytes(data[2:10])
    if len(data) < begin + length:
        return None
    return data[0], data[begin : begin + length], data[begin + length :]


def frame(kind: int, payload: bytes) -> bytes:
    """A client's."""
    length = len(payload)
    if length < 126:
        return bytes((kind, 0x80 | length)) + NO_MASK + payload
    assert length < 1 << 16
    return struct.pack("!BBH", kind, 0x80 | 126, length) + NO_MASK + payload


def json_socket(ids: list[str], inputs: list[list[list[float]]]) -> Wire:
    """Text frames."""
    tails = [f',"inputs":{json.dumps(rows, separators=(",", ":"))}}}'.encode() for rows in inputs]
    count = len(inputs[0])

    def request(session: int, steps: int) -> bytes:
        return frame(TEXT, b'{"at":%d%b' % (steps * count, tails[session]))

    return Wire(request, _good, _json_outputs, _opener(ids))


def msgpack_socket(ids: list[str], inputs: list[list[list[float]]]) -> Wire:
    """Binary frames, the rows as raw float32."""
    rows = [np.array(each, np.float32) for each in inputs]
    packed = [{"dims": each.shape, "data": each.tobytes()} for each in rows]
    encode, count = msgspec.msgpack.Encoder().encode, len(inputs[0])

    def request(session: int, steps: int) -> bytes:
        return frame(BINARY, encode({"at": steps * count, "inputs": packed[session]}))

    return Wire(request, _good, _msgpack_outputs, _opener(ids))


def _opener(ids: list[str]) -> Connect:
    paths = [f"/v1/sessions/{name}/stream" for name in ids]
    return lambda load, sessions: SocketConnection(load, sessions, paths)


def _good(answer: bytes) -> bool:
    return b"outputs" in answer[:64]


def _json_outputs(answer: bytes) -> Floats:
    return np.array(json.loads(answer)["outputs"], np.float32)


def _msgpack_outputs(answer: bytes) -> Floats:
    outputs = msgspec.msgpack.decode(answer)["outputs"]
    if isinstance(outputs, list):
        return np.array(outputs, np.float32)
    return np.frombuffer(outputs["data"], np.float32).reshape(outputs["dims"])
