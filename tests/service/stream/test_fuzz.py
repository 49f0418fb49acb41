"""Any bytes over a WebSocket: no 5xx, no hang, no growth, and nothing moved by what is no row."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from tests.service.serving import Server, memory_of
from tests.service.stream.socket import opened, rows_of

MEGABYTE = 1 << 20
CLOSED = {1002, 1007, 1009}  # a broken frame, no UTF-8, too much
FRONT = "service.front"

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 60), 1 << 60) | st.text(max_size=9)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)  # fmt: skip
FRAMES = st.fixed_dictionaries(
    {}, optional={"at": JUNK | st.integers(0, 3), "inputs": JUNK, "trace": JUNK, "other": JUNK}
)
FUZZ = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@contextmanager
def raw(server: Server, session: str) -> Iterator[socket.socket]:
    """A socket behind its handshake, for frames made by hand."""
    host, port = server.url.removeprefix("http://").split(":")
    key = base64.b64encode(os.urandom(16)).decode()
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(
            f"GET {session}/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(1)
        assert head.startswith(b"HTTP/1.1 101")
        yield connection


def rest(connection: socket.socket) -> bytes:
    """All that still comes."""
    try:
        return b"".join(iter(lambda: connection.recv(65536), b""))
    except ConnectionResetError:
        return b""


def frame(opcode: int, payload: bytes, final: bool = True) -> bytes:
    """A client's frame, masked with zeros."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([opcode | 0x80 * final]) + length + b"\0\0\0\0" + payload


@given(st.binary(max_size=300))
@FUZZ
def test_bytes_that_are_no_frames_end_their_own_connection_at_most(
    server: Server, client: httpx.Client, session: str, data: bytes
):
    with raw(server, session) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        rest(connection)
    assert client.get(session).json()["revision"] == 1


@given(st.lists(st.binary(max_size=120) | st.text(max_size=120), min_size=1, max_size=5))
@FUZZ
def test_frames_that_are_no_documents_are_refused_one_by_one(
    server: Server, client: httpx.Client, session: str, frames: list[Any]
):
    with opened(server.url, session) as stream:
        for one in frames:
            stream.connection.send(one)
        answers = [stream.receive() for _ in frames]
    assert all(answer["status"] == 400 for answer in answers), answers
    assert client.get(session).json()["revision"] == 1


@given(st.lists(FRAMES, min_size=1, max_size=5), st.booleans())
@FUZZ
def test_documents_that_are_no_rows_are_refused_one_by_one(
    server: Server, client: httpx.Client, session: str, frames: list[Any], packed: bool
):
    with opened(server.url, session) as stream:
        for one in frames:
            encoded = msgspec.msgpack.encode(one) if packed else msgspec.json.encode(one).decode()
            stream.connection.send(encoded)
        answers = [stream.receive() for _ in frames]
    assert all(answer["status"] in (400, 409, 413) for answer in answers), answers
    assert client.get(session).json()["revision"] == 1


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x81\x05hello", 1002),  # not masked
        (frame(0x3, b""), 1002),  # an opcode that there is none of
        (frame(0x0, b"x"), 1002),  # goes on with nothing
        (frame(0x9, b"", final=False), 1002),  # a ping in parts
        (frame(0x1, b"\xff\xfe"), 1007),
        (b"\x82\xff" + (1 << 62).to_bytes(8, "big") + b"\0\0\0\0", 1009),
        (frame(0x1, b"", final=False) + frame(0x0, b"", final=False) * 5000, 1009),
    ],
    ids=["unmasked", "opcode", "continuation", "ping", "utf-8", "length", "fragments"],
)
def test_what_breaks_the_protocol_closes_with_the_code_for_it(
    server: Server, client: httpx.Client, session: str, sent: bytes, code: int
):
    with opened(server.url, session) as stream:
        stream.connection.socket.sendall(sent)
        with pytest.raises(ConnectionClosed) as closed:
            stream.receive()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == code
    assert code in CLOSED
    assert client.get(session).json()["revision"] == 1


def test_floods_of_pings_frames_and_openings_leave_no_memory_behind(
    server: Server, client: httpx.Client, session: str
):
    (front,) = server.children(FRONT)
    ping, row = frame(0x9, b"x" * 125), msgspec.json.encode({"at": 9, "inputs": [[0] * 9]})
    parts = [ping * 400, frame(0x1, row) * 400]

    def flood(part: bytes) -> None:
        """Send and never read, until the server takes no more: before it has taken plenty."""
        with raw(server, session) as connection:
            connection.settimeout(2)
            with pytest.raises(TimeoutError):
                for _ in range(64 * MEGABYTE // len(part)):
                    connection.sendall(part)

    for part in parts:
        flood(part)
    before = memory_of(front)
    for _ in range(3):
        for part in parts:
            flood(part)
        for _ in range(20):
            with opened(server.url, session):
                pass
    assert memory_of(front) - before < 48 * MEGABYTE
    assert client.get(session).json()["revision"] == 1
    with opened(server.url, session) as stream:
        assert stream.step(0, rows_of(1, 2)).shape == (2, 8)
