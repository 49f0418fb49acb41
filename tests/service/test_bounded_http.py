import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from service import bounded_http
from service.bounded_http import MAX_HEAD_BYTES, BoundedHttp
from tests.service.fake_engine import in_loop
from tests.service.serving import Server

GET = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n"
READ = 256 * 1024  # what one read of the socket may bring


@contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as opened:
        yield opened


def answer(opened: socket.socket) -> tuple[bytes, bytes]:
    """Head and body of the one answer on a connection that the server then closes."""
    head, _, body = b"".join(iter(lambda: opened.recv(65536), b"")).partition(b"\r\n\r\n")
    return head, body


def flood(opened: socket.socket, part: bytes) -> int:
    """Send `part` again and again until the server hangs up. Returns the bytes it took."""
    sent = 0
    try:
        while sent < 200_000_000:
            sent += opened.send(part)
    except OSError:
        pass
    return sent


@pytest.mark.parametrize(
    ("begin", "part"),
    [
        (GET, b"x-many: 1\r\n" * 1000),
        (GET + b"x-long: ", b"y" * 10_000),
        (b"GET /", b"a" * 10_000),
        (GET, b"z" * 10_000),
    ],
    ids=["many headers", "a long value", "a long path", "a long name"],
)
def test_a_head_without_end_is_hung_up_on(
    server: Server, client: httpx.Client, begin: bytes, part: bytes
):
    with connected(server) as opened:
        opened.sendall(begin)
        assert flood(opened, part) < 50_000_000  # what the kernels' buffers take, and no more
    assert client.get("/health/live").status_code == 200


def test_a_head_that_is_too_large_is_told_so(server: Server):
    with connected(server) as opened:
        opened.sendall(GET + b"x-long: " + b"y" * MAX_HEAD_BYTES)
        head, body = answer(opened)
    assert head.startswith(b"HTTP/1.1 431 ")
    problem = json.loads(body)
    assert (problem["code"], problem["expected"]) == ("head_too_large", "at most 65536 bytes")


def test_a_head_within_the_bound_is_served_in_one_part_and_in_many(server: Server):
    head = GET + b"connection: close\r\nx-long: " + b"y" * (MAX_HEAD_BYTES - 200) + b"\r\n\r\n"
    for size in (len(head), 1000):
        with connected(server) as opened:
            for at in range(0, len(head), size):
                opened.sendall(head[at : at + size])
            assert answer(opened)[0].startswith(b"HTTP/1.1 200 ")


def test_the_bound_is_of_each_request_and_not_of_the_connection(client: httpx.Client):
    headers = {"x-long": "y" * (MAX_HEAD_BYTES // 2)}
    for _ in range(5):
        assert client.get("/health/live", headers=headers).status_code == 200


def test_a_body_does_not_count_as_head(client: httpx.Client):
    content = b'{"inputs": [' + b" " * 3 * READ
    answered = client.post("/v1/models/copy/predict", content=content)
    assert (answered.status_code, answered.json()["code"]) == (400, "invalid_json")


POST = (
    b"POST /v1/models/copy/predict HTTP/1.1\r\nhost: localhost\r\n"
    b"content-type: application/json\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


@pytest.mark.parametrize(
    ("begin", "part"),
    [
        (POST + b"1\r\n{\r\n0\r\n", b"x-many: 1\r\n" * 1000),
        (POST + b"1\r\n{\r\n0\r\nx-long: ", b"y" * 10_000),
        (POST + b"1;", b"z" * 10_000),
    ],
    ids=["many trailers", "a long trailer", "a long chunk extension"],
)
def test_a_body_whose_framing_has_no_end_is_told_so_and_hung_up_on(
    server: Server, client: httpx.Client, begin: bytes, part: bytes
):
    with connected(server) as opened:
        opened.sendall(begin)
        sent, head = 0, b""
        opened.settimeout(0)
        while not head and sent < 64_000_000:
            with suppress(BlockingIOError, ConnectionError):
                sent += opened.send(part)
            with suppress(BlockingIOError):
                head = opened.recv(65536)
        assert head.startswith(b"HTTP/1.1 431 ") and b"chunks and trailers" in head
    assert client.get("/health/live").status_code == 200


def test_a_trailer_is_not_taken_for_a_header(server: Server, client: httpx.Client, session: str):
    path = session.encode()
    body = b'{"inputs":[[0,1,0,1,1,0,1,0,0]]}'
    request = (
        b"POST %b/steps HTTP/1.1\r\nhost: localhost\r\n"
        b"transfer-encoding: chunked\r\nconnection: close\r\n"
        b"trailer: if-match, x-request-id\r\n\r\n"
        b'%x\r\n%b\r\n0\r\nif-match: "none-1"\r\nx-request-id: smuggled\r\n\r\n'
    ) % (path, len(body), body)
    with connected(server) as opened:
        opened.sendall(request)
        head, _ = answer(opened)
    assert head.startswith(b"HTTP/1.1 200 ") and b"smuggled" not in head


def test_a_body_in_many_small_chunks_is_no_framing(server: Server):
    body = b'{"inputs":[[0,1,0,1,1,0,1,0,0]]' + b" " * 200_000 + b"}"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    request = POST.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n") + chunks
    with connected(server) as opened:
        opened.sendall(request + b"0\r\n\r\n")
        head, _ = answer(opened)
    assert head.startswith(b"HTTP/1.1 200 ")


def test_what_is_no_http_gets_problem_details(server: Server):
    with connected(server) as opened:
        opened.sendall(b"\x16\x03\x01 this is TLS\r\n\r\n")
        head, body = answer(opened)
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["expected"] == "an HTTP/1.1 request"


@pytest.mark.parametrize("sent", [b"", b"GET / HT", GET])
@in_loop
async def test_a_head_that_does_not_come_is_given_up(sent: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bounded_http, "HEAD_S", 0.05)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("no request came")

    config = uvicorn.Config(app, interface="asgi3", ws="none", log_config=None)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: BoundedHttp(config, ServerState(), {}), "127.0.0.1", 0
    )
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(sent)
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    server.close()
