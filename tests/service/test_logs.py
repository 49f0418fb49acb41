"""Log lines: one a record, in both formats, with the request's id and without what it sent."""

from __future__ import annotations

import json
import logging
import re
import socket
import sys
from collections.abc import Iterator
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import grpc
import httpx
import pytest

from service import logs, request_ids
from service.settings import Settings
from tests.service.grpc.conftest import kept_port, request, rows, unary
from tests.service.grpc.test_stream import stream as grpc_stream
from tests.service.serving import Server, served, until
from tests.service.stream.listening import listening
from tests.service.stream.socket import opened, rows_of

Format = Literal["text", "json"]
FORMATS: tuple[Format, ...] = ("text", "json")
FORGED = "2026-01-01 00:00:00,000 INFO    1 ntm.front: forged"
ENDS = ("\n", "\r\n", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\u2029")
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ +\d+ [\w.]+( \[\S+\])?: .*")
MARK, NUMBER = "s3cr3t", 0.62519


@pytest.fixture
def kept_logging() -> Iterator[None]:
    """Whatever a test configures is undone."""
    root = logging.getLogger()
    handlers, levels = root.handlers[:], {n: logging.getLogger(n).level for n in ("ntm", "uvicorn")}
    level = root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    for name, was in levels.items():
        logging.getLogger(name).setLevel(was)


def configured(monkeypatch: pytest.MonkeyPatch, form: Format, **settings: Any) -> StringIO:
    """Where this process's log lines go from now on."""
    written = StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    logs.configure(Settings(log_format=form, **settings))
    return written


@pytest.mark.usefixtures("kept_logging")
@pytest.mark.parametrize("end", ENDS, ids=ascii)
@pytest.mark.parametrize("form", FORMATS)
def test_no_message_makes_a_second_line(form: Format, end: str, monkeypatch: pytest.MonkeyPatch):
    written = configured(monkeypatch, form)
    logging.getLogger("ntm.front").error("got %s", f"a{end}{FORGED}\x1b[31m")
    (line,) = written.getvalue().splitlines()
    assert "forged" in line and line.isascii() and "\x1b" not in line
    if form == "json":
        assert json.loads(line)["message"] == f"got a{end}{FORGED}\x1b[31m"
    else:
        assert LINE.fullmatch(line)


@pytest.mark.usefixtures("kept_logging")
@pytest.mark.parametrize("end", ENDS, ids=ascii)
@pytest.mark.parametrize("form", FORMATS)
def test_no_exception_forges_a_line(form: Format, end: str, monkeypatch: pytest.MonkeyPatch):
    written = configured(monkeypatch, form)
    try:
        raise ValueError(f"a{end}{FORGED}")
    except ValueError:
        logging.getLogger("ntm.engine").exception("it failed", stack_info=True)
    first, *more = written.getvalue().splitlines()
    if form == "json":
        assert more == []
        assert FORGED in json.loads(first)["exception"]
    else:
        assert LINE.fullmatch(first)
        assert more and all(line.startswith("    ") for line in more)
        assert any("forged" in line for line in more)


@pytest.mark.usefixtures("kept_logging")
@pytest.mark.parametrize("form", FORMATS)
def test_a_lone_surrogate_is_logged_too(form: Format, monkeypatch: pytest.MonkeyPatch):
    written = configured(monkeypatch, form)
    logging.getLogger("ntm.store").error("no such file: %s", "/data/\udcff")
    assert "no such file: /data/" in written.getvalue()
    assert "Traceback" not in written.getvalue()


@pytest.mark.usefixtures("kept_logging")
def test_a_json_line_has_its_fields(monkeypatch: pytest.MonkeyPatch):
    written = configured(monkeypatch, "json")
    request_ids.current.set("r-1")
    logging.getLogger("ntm.front").warning("x", extra={"route": "/v1/models"})
    request_ids.current.set("")
    logging.getLogger("uvicorn.error").error("y", extra={"color_message": "z"})
    first, second = (json.loads(line) for line in written.getvalue().splitlines())
    told = datetime.fromisoformat(first.pop("time"))
    assert told.utcoffset() is not None and not told.utcoffset()
    assert isinstance(first.pop("pid"), int)
    assert first == {
        "level": "WARNING", "logger": "ntm.front", "message": "x",
        "request_id": "r-1", "route": "/v1/models",
    }  # fmt: skip
    assert set(second) == {"time", "level", "logger", "pid", "message"}


@pytest.mark.usefixtures("kept_logging")
def test_below_info_only_our_own_lines_are_told(monkeypatch: pytest.MonkeyPatch):
    written = configured(monkeypatch, "text", log_level="debug")
    for name in ("ntm.front", "websockets.server", "uvicorn.error", "asyncio"):
        logging.getLogger(name).debug("of %s", name)
    logging.getLogger("uvicorn.error").info('"WebSocket /v1/sessions/a/stream?secret" [accepted]')
    assert [line.rpartition(" ")[2] for line in written.getvalue().splitlines()] == ["ntm.front"]


def test_the_ids_of_many_requests_are_bounded():
    assert request_ids.told([]) == ""
    assert request_ids.told(["a", "", "b"]) == "a b"
    assert request_ids.told([str(n) for n in range(20)]) == "0 1 2 3 4 5 6 7 and 12 more"


def entries(server: Server, form: Format) -> list[dict[str, Any]]:
    """What the server logged, each line's parts. Fails for a line that is none."""
    text = server.text()
    begin = text.index("ntm-serve ")  # what it says on its standard output, six lines
    said = text[begin:].splitlines()
    lines = text[:begin].splitlines() + [line for line in said if not _announced(line)]
    if form == "json":
        return [json.loads(line) for line in lines]
    found: list[dict[str, Any]] = []
    for line in lines:
        assert LINE.fullmatch(line) or line.startswith("    "), line
        found.append({"message": line})
    return found


def _announced(line: str) -> bool:
    return line.startswith("ntm-serve ") or bool(re.match(r"  (\w|\w[\w ]+\w)  +\S", line))


def with_marks(url: str, http: httpx.Client, port: int) -> None:
    """Requests of every kind, well and badly, with marks in all that a client may say."""
    headers = {
        "authorization": f"Bearer ntm_{MARK}", "idempotency-key": f"{MARK}-key",
        "cookie": f"a={MARK}", "x-other": f"{MARK}\t{FORGED}", "if-match": f'"{MARK}"',
    }  # fmt: skip
    name, row = f"{MARK}-session", [NUMBER] * 9
    plain = {"authorization": headers["authorization"]}
    assert http.post("/v1/models/copy/sessions", json={"id": name}, headers=plain).is_success
    path = f"/v1/sessions/{name}"
    assert http.post(f"{path}/steps", json={"inputs": [row]}, headers=plain).is_success
    assert http.get(f"{path}/memory", headers=plain).is_success
    for method, where, body in (
        ("POST", f"{path}/steps", {"inputs": [row]}),
        ("POST", f"{path}/steps", {"inputs": [[MARK]]}),
        ("POST", f"{path}/steps", {MARK: NUMBER}),
        ("POST", f"{path}/steps?{MARK}={MARK}", {"inputs": [row]}),
        ("POST", f"{path}/restore", {"snapshot": MARK}),
        ("POST", "/v1/models/copy/sessions", {"state": {MARK: [NUMBER]}}),
        ("POST", f"/v1/models/{MARK}/predict", {"inputs": [row]}),
        ("PUT", f"{path}/state", {"a": MARK}),
        ("GET", f"/v1/sessions?cursor={MARK}", None),
        ("GET", f"/{MARK}%0a{FORGED}", None),
        ("PATCH", f"{path}", None),
        ("GET", f"/v2/models/{MARK}", None),
        ("POST", "/v2/models/copy/infer", {"inputs": [{"name": MARK, "data": row}]}),
        ("POST", f"/v2/repository/models/{MARK}/load", {}),
        ("DELETE", f"/v1/sessions/{MARK}-other", None),
    ):
        http.request(method, where, json=body, headers=headers)
    _raw(url, f"GET /{MARK} HTTP/9 {MARK}\r\nx: {MARK}\r\n\r\n".encode())
    _raw(url, f"GET /?{MARK} HTTP/1.1\r\nx: {MARK * 12_000}".encode())
    _raw(
        url,
        f"GET /{MARK}?{MARK} HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n"
        f"connection: upgrade\r\nsec-websocket-version: 13\r\n"
        f"sec-websocket-key: {MARK}\r\n\r\n".encode(),
    )
    with opened(url, path, additional_headers=plain) as stream:
        stream.step(1, rows_of(1, 2))
        stream.connection.send(json.dumps({"at": MARK, "inputs": [row]}))
        stream.receive()
    with pytest.raises(Exception, match="404"):
        opened(url, f"{path}-not", additional_headers=plain).__enter__()
    with listening(url, path, include="rows") as events:
        http.post(f"{path}/steps", json={"inputs": [row]}, headers=plain)
        events.take(1)
    _over_grpc(port)


def _over_grpc(port: int) -> None:
    metadata = (("authorization", f"Bearer {MARK}"), ("x-other", MARK))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        good = request(rows(1), model="small", sequence_id=MARK, sequence_start=True)
        unary(channel)(good.SerializeToString(), metadata=metadata)
        for body in (request(rows(1), model=MARK).SerializeToString(), MARK.encode()):
            with pytest.raises(grpc.RpcError):
                unary(channel)(body, metadata=metadata)
        with pytest.raises(grpc.RpcError):
            channel.unary_unary(f"/{MARK}/{MARK}", None, None)(b"", metadata=metadata)
        list(grpc_stream(channel)(iter([good, request(model=MARK)]), metadata=metadata))


def _raw(url: str, data: bytes) -> bytes:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as opened:
        opened.sendall(data)
        return b"".join(iter(lambda: opened.recv(65536), b""))


@pytest.mark.parametrize("form", FORMATS)
def test_no_line_tells_what_a_client_sent_at_any_level(form: Format, models: Path, tmp_path: Path):
    with kept_port() as port:
        settings = {
            "NTM_LOG_LEVEL": "debug", "NTM_LOG_FORMAT": form, "NTM_ACCESS_LOG": "1",
            "NTM_GRPC_PORT": str(port), "NTM_STORE": f"sqlite://{tmp_path}/sessions.db",
        }  # fmt: skip
        with served(tmp_path, models, **settings) as server, server.client() as http:
            with_marks(server.url, http, port)
            http.get("/v1/models", headers={"x-request-id": "the-last"})
            until(lambda: "the-last" in server.text())
            assert server.stop() == 0
            text, found = server.text(), entries(server, form)
    assert MARK not in text and str(NUMBER) not in text and "forged" not in text
    access = [entry for entry in found if "ntm.access" in entry.get("logger", entry["message"])]
    assert len(access) > 30
    for protocol in ("/v1/sessions/{session_id}/stream", "inference.GRPCInferenceService"):
        assert any(protocol in entry["message"] for entry in access)
    if form == "json":
        assert all({"request_id", "method", "route", "status", "ms", "bytes"} <= set(entry)
                   for entry in access)  # fmt: skip
        (last,) = [entry for entry in access if entry["request_id"] == "the-last"]
        assert (last["protocol"], last["status"]) == ("http", "200")
        assert (last["method"], last["route"]) == ("GET", "/v1/models")
        assert last["bytes"] > 100 and last["ms"] > 0


def test_without_the_setting_there_is_no_access_line(client: httpx.Client, server: Server):
    client.get("/nothing")
    assert "ntm.access" not in server.text()
