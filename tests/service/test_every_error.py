"""Every status of every protocol: one shape each, a stable code, and a request id."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from service.errors import NtmError, codes
from service.grpc.schema import SERVICE
from service.grpc.status import status_of
from service.link import EngineLink
from service.requests import Describe
from tests.service.fake_engine import in_loop
from tests.service.fronting import Fronting, fronting
from tests.service.grpc.conftest import request, rows, service_pb2
from tests.service.serving import ROW, Server
from tests.service.test_metrics import samples

KINDS = sorted(codes().items())
MEMBERS = {"type", "title", "status", "detail", "code", "request_id"}
SESSION, STREAM = "/v1/sessions/abc", "/v1/sessions/abc/stream"
ID = "of-the-client"


def assert_problem(headers: Any, text: str | bytes, status: int, code: str, name: str = "") -> None:
    """Problem details of that code, whose request id is the answer's, and `name` where given."""
    body = json.loads(text)
    assert set(body) >= MEMBERS, (code, body)
    assert (body["status"], body["code"]) == (status, code), body
    assert body["type"] == f"urn:problem-type:ntm:{code}"
    assert body["request_id"] == headers["x-request-id"] != "", code
    assert not name or body["request_id"] == name
    assert headers["content-type"] == "application/problem+json"


def assert_v2(headers: Any, text: str | bytes, code: str) -> None:
    """The protocol's one string, which begins with the code; the request id is in the header."""
    (error,) = json.loads(text).values()
    assert error.startswith(f"{code}: ") and len(error) > len(code) + 2
    assert headers["x-request-id"]
    assert headers["content-type"] == "application/json"


@in_loop
async def test_every_error_over_http(tmp_path: Path):
    async with fronting(tmp_path) as running, running.client() as client:
        for code, kind in KINDS:
            running.engine.error = kind("why")
            for path in (SESSION, f"{SESSION}/events", "/v1/models", "/health/ready"):
                answer = await client.get(path, headers={"x-request-id": ID})
                assert answer.status_code == kind.status
                assert_problem(answer.headers, answer.text, kind.status, code, ID)
                assert ("retry-after" in answer.headers) == (kind.status in (429, 503))
            answer = await client.get("/v2/models/copy")
            assert answer.status_code == kind.status
            assert_v2(answer.headers, answer.text, code)
            count = running.state.metrics.registry.get_sample_value
            assert count("ntm_errors_total", {"code": code}) == 5


@in_loop
async def test_every_error_of_a_websockets_handshake(tmp_path: Path):
    async with fronting(tmp_path) as running:
        for code, kind in KINDS:
            running.engine.error = kind("why")
            response = await refused(running, STREAM)
            assert response.status_code == kind.status
            assert_problem(response.headers, response.body, kind.status, code)


@in_loop
async def test_every_error_of_a_websockets_frame(tmp_path: Path):
    async with fronting(tmp_path) as running:
        running.engine.grant_streams()
        for code, kind in KINDS:
            if code == "revision_mismatch":
                continue  # a frame is told step_gap, or is looked up in the history
            running.engine.error = kind("why")
            async with connect(url_of(running, STREAM)) as stream:
                assert stream.response is not None
                await stream.recv()
                await stream.send(json.dumps({"at": 0, "inputs": [ROW]}))
                body = json.loads(await stream.recv())
                assert set(body) >= MEMBERS | {"at"}
                assert (body["status"], body["code"]) == (kind.status, code)
                assert body["request_id"] == stream.response.headers["x-request-id"]


@in_loop
async def test_every_error_over_grpc(tmp_path: Path):
    async with fronting(tmp_path) as running, channel_of(running) as channel:
        metadata = channel.unary_unary(f"/{SERVICE}/ModelMetadata", None, None)
        for code, kind in KINDS:
            running.engine.error = error = kind("why")
            call = metadata(b"", metadata=(("x-request-id", ID),))
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call
            assert raised.value.code() == status_of(error)
            assert (raised.value.details() or "").startswith(f"{code}: ")
            assert dict(await call.initial_metadata())["x-request-id"] == ID
            assert await _streamed(channel) == f"{code}: why"


async def _streamed(channel: Any) -> str:
    answers = service_pb2.ModelStreamInferResponse.FromString
    call = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer", None, answers)()
    await call.write(request(rows(1)).SerializeToString())
    await call.done_writing()
    (answer,) = [answer async for answer in call]
    assert dict(await call.initial_metadata())["x-request-id"]
    return answer.error_message


@in_loop
async def test_a_defect_is_internal_in_every_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    async def broken(self: Any, decoder: Any, request: Any, **_: Any) -> Any:
        if isinstance(request, Describe) and running.engine.granted:
            return running.engine.granted[Describe]
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(EngineLink, "call", broken)
    async with fronting(tmp_path) as running, running.client() as client:
        answer = await client.get(SESSION)
        assert_problem(answer.headers, answer.text, 500, "internal")
        answer = await client.get("/v2/models/copy")
        assert answer.status_code == 500
        assert_v2(answer.headers, answer.text, "internal")
        response = await refused(running, STREAM)
        assert_problem(response.headers, response.body, 500, "internal")
        async with channel_of(running) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await channel.unary_unary(f"/{SERVICE}/ModelMetadata", None, None)(b"")
            assert raised.value.code() == grpc.StatusCode.INTERNAL
            assert dict(raised.value.initial_metadata())["x-request-id"]
        running.engine.grant_streams()
        async with connect(url_of(running, STREAM)) as stream:
            await stream.recv()
            await stream.send(json.dumps({"at": 0, "inputs": [ROW]}))
            body = json.loads(await stream.recv())
            assert (body["code"], body["at"]) == ("internal", 0)
            assert "secret" not in str(body)
    failures = [record for record in caplog.records if record.exc_info]
    assert len(failures) == 5
    assert all("ZeroDivisionError" in record.exc_text for record in failures if record.exc_text)


@in_loop
async def test_what_even_the_answer_to_errors_fails_at_is_a_500_with_an_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("service.problems._name_both", broken)
    async with fronting(tmp_path) as running, running.client() as client:
        for path in ("/nothing", "/v2/nothing"):
            answer = await client.get(path)
            assert (answer.status_code, "secret" in answer.text) == (500, False)
            if path == "/nothing":
                assert_problem(answer.headers, answer.text, 500, "internal")
            else:
                assert_v2(answer.headers, answer.text, "internal")


@in_loop
async def test_a_defect_amid_a_websocket_closes_it_with_1011(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async def broken(_: Any) -> Any:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("service.stream.row_stream.RowStream.run", broken)
    async with fronting(tmp_path) as running:
        running.engine.grant_streams()
        async with connect(url_of(running, STREAM)) as stream:
            await stream.recv()
            await stream.wait_closed()
            assert (stream.close_code, stream.close_reason) == (1011, "internal")


def url_of(running: Fronting, path: str) -> str:
    return running.url.replace("http", "ws", 1) + path


async def refused(running: Fronting, path: str) -> Any:
    """The answer to a handshake that is refused."""
    with pytest.raises(InvalidStatus) as error:
        await connect(url_of(running, path))
    return error.value.response


def channel_of(running: Fronting) -> grpc.aio.Channel:
    options = (("grpc.enable_retries", 0),)
    return grpc.aio.insecure_channel(f"127.0.0.1:{running.port}", options=options)


BIG = {"content-length": "9000000"}
ROUTED = [
    ("GET", "/nothing", {}, 404, "route_not_found"),
    ("GET", "/", {}, 404, "route_not_found"),
    ("GET", "/%00", {}, 404, "route_not_found"),
    ("GET", "/%ff%fe", {}, 404, "route_not_found"),
    ("GET", "/v1/..%2f..%2fetc/passwd", {}, 404, "route_not_found"),
    ("GET", "/v1/models/../../nothing", {}, 404, "route_not_found"),
    ("GET", "/nothing//at//all", {}, 404, "route_not_found"),
    ("GET", "/" + "a" * 30_000, {}, 404, "route_not_found"),
    ("GET", "/v1/models/%00", {}, 404, "model_not_found"),
    ("GET", "/v1/sessions/%0d%0ax", {}, 404, "session_not_found"),
    ("GET", "/v1/sessions/nobodys", {}, 404, "session_not_found"),
    ("GET", "/v1/sessions?limit=x", {}, 400, "invalid_request"),
    ("GET", "/v1/sessions?nothing=1", {}, 400, "invalid_request"),
    ("GET", STREAM, {}, 426, "upgrade_required"),
    ("HEAD", "/v1/models", {}, 405, "method_not_allowed"),
    ("TRACE", "/v1/models", {}, 405, "method_not_allowed"),
    ("PATCH", "/v1/models", {}, 405, "method_not_allowed"),
    ("DELETE", "/health/live", {}, 405, "method_not_allowed"),
    ("POST", "/schema", {}, 405, "method_not_allowed"),
    ("POST", "/v1/models/copy/predict", {"content-type": "a/b"}, 415, "unsupported_media_type"),
    ("POST", "/v1/models/copy/predict", BIG, 413, "body_too_large"),
    ("POST", "/v1/models/copy/predict", {}, 400, "invalid_json"),
    ("GET", "/v1/models", {"host": "a b"}, 400, "invalid_request"),
    ("GET", "/v2/nothing", {}, 404, "route_not_found"),
    ("GET", "/v2/models/nobodys", {}, 404, "model_not_found"),
    ("DELETE", "/v2", {}, 405, "method_not_allowed"),
    ("HEAD", "/v2", {}, 405, "method_not_allowed"),
    ("POST", "/v2/models/copy/infer", BIG, 413, "body_too_large"),
    ("POST", "/v2/models/copy/infer", {}, 400, "invalid_json"),
    ("POST", "/v2/models/copy/infer", {"content-encoding": "br"}, 415, "unsupported_media_type"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"), ROUTED, ids=lambda part: str(part)[:24]
)
def test_what_no_handler_sees_has_the_same_shape(
    server: Server, method: str, path: str, headers: dict[str, str], status: int, code: str
):
    head = {"host": "localhost", "connection": "close", "content-length": "0"} | headers
    lines = "".join(f"{name}: {text}\r\n" for name, text in head.items())
    answered = raw(server, f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode())
    assert answered.status == status
    if method == "HEAD":
        assert answered.headers["x-request-id"] and answered.body == b""
    elif path.startswith("/v2"):
        assert_v2(answered.headers, answered.body, code)
    else:
        assert_problem(answered.headers, answered.body, status, code)


HANDSHAKE = (
    b"host: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
LINE = b"GET /v1/sessions/nobodys/stream HTTP/1.1\r\n"
BELOW = {
    "TLS": (b"\x16\x03\x01 hello\r\n\r\n", 400, "invalid_request"),
    "a proxy's request": (b"CONNECT a:80 HTTP/1.1\r\n\r\n", 400, "invalid_request"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "invalid_request"),
    "an unknown method": (b"BREW / HTTP/1.1\r\nhost: localhost\r\n\r\n", 400, "invalid_request"),
    "a negative length": (
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: -5\r\n\r\n", 400, "invalid_request"
    ),
    "a folded header": (b"GET / HTTP/1.1\r\nx\r\n y\r\n\r\n", 400, "invalid_request"),
    "a long head": (b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000, 431, "head_too_large"),
    "a handshake without a key": (
        LINE + HANDSHAKE.replace(b"-key", b"-no") + b"\r\n", 400, "invalid_request"
    ),
    "a handshake of an old version": (
        LINE + HANDSHAKE.replace(b"13", b"8") + b"\r\n", 400, "invalid_request"
    ),
    "a handshake by POST": (
        LINE.replace(b"GET", b"POST") + HANDSHAKE + b"\r\n", 405, "method_not_allowed"
    ),
    "a handshake with a body": (
        LINE + b"content-length: 3\r\n" + HANDSHAKE + b"\r\nabc", 400, "invalid_request"
    ),
    "a handshake with a long line": (
        LINE + b"x: " + b"y" * 9000 + b"\r\n" + HANDSHAKE + b"\r\n", 431, "head_too_large"
    ),
    "a handshake with a long path": (
        LINE.replace(b"stream", b"stream?" + b"y" * 9000) + HANDSHAKE + b"\r\n", 431,
        "head_too_large",
    ),
    "a handshake with many headers": (
        LINE + b"x: y\r\n" * 200 + HANDSHAKE + b"\r\n", 431, "head_too_large"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BELOW)
def test_what_the_app_never_sees_has_an_id_and_is_counted(
    server: Server, client: httpx.Client, name: str
):
    sent, status, code = BELOW[name]
    before = _counted(client, status, code)
    answered = raw(server, sent)
    assert answered.status == status
    assert_problem(answered.headers, answered.body, status, code)
    assert answered.headers["connection"] == "close"
    if status == 405:
        assert answered.headers["allow"] == "GET"
    assert _counted(client, status, code) == [was + 1 for was in before]


def _counted(client: httpx.Client, status: int, code: str) -> list[float]:
    found = samples(client.get("/metrics").content)
    labels = {"method": "other", "route": "unmatched", "status": str(status), "front": "0"}
    return [
        found.get(("ntm_http_requests_total", frozenset(labels.items())), 0.0),
        found.get(("ntm_errors_total", frozenset({("code", code), ("front", "0")})), 0.0),
    ]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/nothing", 404, "route_not_found"),
        ("/", 404, "route_not_found"),
        ("/v1/models", 404, "route_not_found"),
        ("/v2/health/live", 404, "route_not_found"),
        ("/v1/sessions/nobodys/stream", 404, "session_not_found"),
        ("/v1/sessions/%00/stream", 404, "session_not_found"),
        ("/v1/sessions/nobodys/stream?x=1", 400, "invalid_request"),
    ],
)
def test_a_websocket_on_any_path_is_told_why_not(server: Server, path: str, status: int, code: str):
    sent = f"GET {path} HTTP/1.1\r\nx-request-id: {ID}\r\n".encode() + HANDSHAKE + b"\r\n"
    answered = raw(server, sent)
    assert answered.status == status
    if path.startswith("/v2"):
        assert_v2(answered.headers, answered.body, code)
    else:
        assert_problem(answered.headers, answered.body, status, code, ID)


def test_what_is_no_http_behind_a_request_never_stands_in_place_of_its_answer(server: Server):
    body = json.dumps({"inputs": [ROW]}).encode()
    head = (
        b"POST /v1/models/copy/predict HTTP/1.1\r\nhost: localhost\r\n"
        b"content-type: application/json\r\n"
    )
    good = head + b"content-length: %d\r\n\r\n" % len(body) + body
    answered = raw(server, good + b"GARBAGE\r\n\r\n")
    assert answered.status == 200
    assert len(json.loads(answered.body)["outputs"]) == 1


def test_a_malformed_body_is_refused_under_the_id_of_its_request(server: Server):
    head = b"POST /v1/models/copy/predict HTTP/1.1\r\nhost: localhost\r\nx-request-id: mine\r\n"
    with connected(server) as opened:
        opened.sendall(head + b"expect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n")
        assert opened.recv(65536).startswith(b"HTTP/1.1 100 ")  # a handler waits for the body
        opened.sendall(b"zz\r\n")
        answered = Answered(b"".join(iter(lambda: opened.recv(65536), b"")))
    assert answered.status == 400
    assert_problem(answered.headers, answered.body, 400, "invalid_request", "mine")


def test_a_grpc_method_that_there_is_not_is_told_so(tmp_path: Path):
    @in_loop
    async def asked() -> None:
        async with fronting(tmp_path) as running, channel_of(running) as channel:
            for method in ("/a.Service/Method", f"/{SERVICE}/Nothing", f"/{SERVICE}/"):
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await channel.unary_unary(method, None, None)(b"x")
                assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED
                assert (raised.value.details() or "").startswith("method_not_allowed: ")
                assert dict(raised.value.initial_metadata())["x-request-id"]
            count = running.state.metrics.registry.get_sample_value
            labels = {"method": "unknown", "code": "UNIMPLEMENTED"}
            assert count("ntm_grpc_requests_total", labels) == 3

    asked()


class Answered:
    """The last answer among bytes that a server sent."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(line.split()[1])
        self.headers = httpx.Headers(
            [(name, text) for name, _, text in (s.partition(": ") for s in lines)]
        )


@contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as opened:
        yield opened


def raw(server: Server, data: bytes) -> Answered:
    """The answer to bytes, on a connection that the server then closes."""
    with connected(server) as opened:
        opened.sendall(data)
        return Answered(b"".join(iter(lambda: opened.recv(65536), b"")))


def test_the_tables_visit_every_error() -> None:
    assert all(issubclass(kind, NtmError) for _, kind in KINDS) and len(KINDS) > 40
