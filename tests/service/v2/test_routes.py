"""The routes of the protocol as any HTTP client meets them."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.app import create_app
from service.settings import Settings
from tests.service.fake_engine import in_loop
from tests.service.serving import Server, client_of, served, until
from tests.service.v2.accumulator import make_accumulator

INFER = "/v2/models/accumulator/infer"


def body_of(value: float = 1.0, **more: Any) -> dict[str, Any]:
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [value]}
    return {"inputs": [tensor]} | more


def check(answer: httpx.Response, status: int, code: str, about: str = "") -> None:
    """An answer is an error as the protocol has it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    said = answer.json()
    assert list(said) == ["error"] and said["error"].startswith(code), said
    assert about in said["error"], said
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v2/", 200, ""),
        ("GET", "/v2/nothing", 404, "route_not_found"),
        ("GET", "/v2/models", 404, "route_not_found"),
        ("GET", "/v2/models/none", 404, "model_not_found"),
        ("GET", "/v2/models/none/ready", 404, "model_not_found"),
        ("GET", "/v2/models/none/stats", 404, "model_not_found"),
        ("GET", "/v2/models/copy/versions/9/config", 404, "model_not_found"),
        ("POST", "/v2/repository/models/none/load", 404, "model_not_found"),
        ("POST", "/v2/repository/models/none/unload", 404, "model_not_found"),
        ("POST", "/v2", 405, "method_not_allowed"),
        ("GET", INFER, 405, "method_not_allowed"),
        ("DELETE", "/v2/models/copy", 405, "method_not_allowed"),
        ("POST", INFER, 400, "invalid_json"),
        ("POST", "/v2/models/no%2e%2e/infer", 400, "invalid_json"),
    ],
)
def test_every_failure_has_the_protocols_shape(
    client: httpx.Client, method: str, path: str, status: int, code: str
):
    answer = client.request(method, path)
    if status == 200:
        assert answer.status_code == 200
    else:
        check(answer, status, code)


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (json.dumps(body_of()), {"content-encoding": "br"}, 415, "unsupported_media_type"),
        (json.dumps(body_of()), {"content-encoding": "gzip"}, 400, "invalid_request"),
        ("{}", {"inference-header-content-length": "9999"}, 400, "invalid_request"),
        ("{}", {"inference-header-content-length": "x"}, 400, "invalid_request"),
        (b" " * 9_000_000, {}, 413, "body_too_large"),
        (json.dumps(body_of(parameters={"timeout": -1})), {}, 400, "invalid_request"),
        (json.dumps(body_of(parameters={"sequence_id": 2**64})), {}, 400, "invalid_request"),
        (json.dumps(body_of(parameters={"sequence_start": True})), {}, 400, "invalid_request"),
        (json.dumps(body_of(parameters={"sequence_id": 5})), {}, 404, "sequence_not_started"),
        ('{"inputs": [], "parameters": {"sequence_id": "\\ud800"}}', {}, 400, "invalid_json"),
    ],
)  # fmt: skip
def test_what_cannot_be_inferred_is_told_by_its_code(
    client: httpx.Client, body: str | bytes, headers: dict[str, str], status: int, code: str
):
    check(client.post(INFER, content=body, headers=headers), status, code)


def test_a_model_is_no_path(client: httpx.Client):
    for name in ("no%20name", "%00", "..%2f..", "ACCUMULATOR", "a" * 65):
        answer = client.post(f"/v2/models/{name}/infer", json=body_of())
        assert answer.status_code == 404 and list(answer.json()) == ["error"]


def test_a_batch_is_no_row_of_a_sequence(client: httpx.Client):
    tensor = {"name": "x", "shape": [2, 1], "datatype": "FP32", "data": [1, 2]}
    body = {"inputs": [tensor], "parameters": {"sequence_id": 9, "sequence_start": True}}
    check(client.post(INFER, json=body), 400, "wrong_shape", "a batch of 2")


def test_no_content_type_says_what_a_body_is(client: httpx.Client):
    for kind in ("application/octet-stream", "text/plain", "application/json; charset=utf-8"):
        body = json.dumps(body_of(3))
        answer = client.post(INFER, content=body, headers={"content-type": kind})
        assert answer.json()["outputs"][0]["data"] == [3.0]


def test_a_raw_body_is_rows_and_so_is_its_answer(client: httpx.Client):
    rows = np.array([[1], [2], [3]], "<f4")
    headers = {"inference-header-content-length": "0", "accept-encoding": "identity"}
    answer = client.post(INFER, content=rows.tobytes(), headers=headers)
    header = int(answer.headers["inference-header-content-length"])
    assert json.loads(answer.content[:header])["outputs"][0]["shape"] == [3, 1]
    assert answer.content[header:] == rows.tobytes()
    check(client.post(INFER, content=b"abc", headers=headers), 400, "wrong_shape")


@pytest.mark.parametrize(
    ("accept", "coding"), [("gzip", "gzip"), ("deflate", "deflate"), ("br", None)]
)
def test_an_answer_comes_in_the_coding_that_was_asked_for(
    client: httpx.Client, accept: str, coding: str | None
):
    answer = client.post(INFER, json=body_of(2), headers={"accept-encoding": accept})
    assert answer.headers.get("content-encoding") == coding
    assert answer.headers["vary"] == "accept-encoding"
    assert answer.json()["outputs"][0]["data"] == [2.0]


def test_a_bomb_is_refused_before_it_is_whole(client: httpx.Client):
    import gzip

    bomb = gzip.compress(b"\0" * 100_000_000)
    answer = client.post(INFER, content=bomb, headers={"content-encoding": "gzip"})
    check(answer, 413, "body_too_large", "at most 8388608 bytes")


def test_a_body_that_never_comes_is_not_waited_for(server: Server):
    host, port = server.url.removeprefix("http://").split(":")
    head = f"POST {INFER} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 50000000\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as raw:
        raw.sendall(head.encode() + b"{")
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413 ") and b'{"error":"body_too_large: ' in answer


def test_a_timeout_of_the_requests_own_is_kept(client: httpx.Client):
    tensor = {"name": "x", "shape": [1, 4000, 1], "datatype": "FP32", "data": [1] * 4000}
    body = {"inputs": [tensor], "parameters": {"timeout": 1}}
    check(client.post(INFER, json=body), 504, "deadline_exceeded")


def test_numbers_of_thousands_of_digits_are_refused_or_taken_for_the_most(client: httpx.Client):
    huge = 10**4000
    assert client.post(INFER, json=body_of(parameters={"timeout": huge})).status_code == 200
    tensor = {"name": "x", "shape": [huge, huge], "datatype": "FP32", "data": [1]}
    check(client.post(INFER, json={"inputs": [tensor]}), 400, "wrong_shape")
    check(client.post(INFER, json=body_of(parameters={"sequence_id": huge})), 400, "invalid_")
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [huge]}
    check(client.post(INFER, json={"inputs": [tensor]}), 400, "")
    tensor["parameters"] = {"binary_data_size": huge}
    check(client.post(INFER, json={"inputs": [tensor]}), 400, "invalid_request")


def test_no_session_may_be_named_as_a_sequence_is(client: httpx.Client):
    answer = client.post("/v1/models/accumulator/sessions", json={"id": "v2~accumulator~int~1"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


@in_loop
async def test_without_an_engine_the_server_is_live_and_not_ready(tmp_path: Path) -> None:
    async with client_of(create_app(Settings(engine_socket=str(tmp_path / "none")))) as client:
        assert (await client.get("/v2/health/live")).json() == {"live": True}
        ready = await client.get("/v2/health/ready")
        assert (ready.status_code, ready.json()["ready"]) == (400, False)
        assert ready.json()["error"].startswith("not_ready: ")
        check(await client.get("/v2/models/copy/ready"), 503, "engine_unavailable")
        check(await client.post(INFER, json=body_of()), 503, "engine_unavailable")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """Starts a server of the test's own on a store that stays: what models/ holds then."""
    models = tmp_path / "models"
    make_accumulator(models / "one")
    store = f"sqlite:///{tmp_path}/sessions.db"
    yield lambda: served(tmp_path, models, NTM_STORE=store, NTM_FRONTS="2")


def step(client: httpx.Client, value: float, number: int | str, request_id: str, **flags: bool):
    parameters = {"sequence_id": number} | {f"sequence_{name}": on for name, on in flags.items()}
    answer = client.post(INFER, json=body_of(value, id=request_id, parameters=parameters))
    assert answer.status_code == 200, answer.text
    said = answer.json()
    return said["outputs"][0]["data"][0], said["parameters"]["replayed"]


def test_sequences_and_their_repeats_survive_a_restart_and_a_kill(own: Callable[[], Any]):
    import os
    import signal

    with own() as server, server.client() as client:
        for number, value in ((7, 10.0), ("7", 20.0)):
            assert step(client, value, number, "a", start=True) == (value, False)
        step(client, 1, "gone", "a", start=True)
        step(client, 2, "gone", "b", end=True)
        (engine,) = server.children("service.engine.process")
        os.kill(engine, signal.SIGKILL)
        until(lambda: client.get("/v2/health/ready").status_code == 400, 30)
        until(lambda: client.get("/v2/health/ready").status_code == 200, 60)
        assert step(client, 10, 7, "a", start=True) == (10, True)
        assert step(client, 5, 7, "b") == (15, False)
    with own() as server, server.client() as client:
        assert step(client, 5, 7, "b") == (15, True)
        assert step(client, 1, 7, "c", end=True) == (16, False)
        assert step(client, 1, 7, "c", end=True) == (16, True)
        assert step(client, 1, "7", "b") == (21, False)
        assert step(client, 2, "gone", "b", end=True) == (3, True)
        body = body_of(parameters={"sequence_id": "gone"})
        check(client.post(INFER, json=body), 410, "sequence_ended")
        listed = client.get("/v1/sessions").json()["sessions"]
        assert [one["id"] for one in listed] == ["v2~accumulator~string~7"]


def test_an_expired_sequence_says_so(tmp_path: Path, accumulator: Path):
    with (
        served(tmp_path, accumulator, NTM_IDLE_TTL_S="0.5") as server,
        server.client() as client,
    ):
        step(client, 1, 7, "a", start=True)
        body = body_of(parameters={"sequence_id": 7})
        session = "/v1/sessions/v2~accumulator~int~7"
        until(lambda: client.get(session).status_code == 410)
        check(client.post(INFER, json=body), 410, "sequence_expired", "sequence 7")
        assert step(client, 1, 7, "a", start=True) == (1, False)


def test_a_model_is_unloaded_listed_and_loaded_again(tmp_path: Path, own: Callable[[], Any]):
    def listed(**body: Any) -> list[tuple[str, str, str]]:
        found = client.post("/v2/repository/index", json=body).json()
        return [(one["name"], one["version"], one["state"]) for one in found]

    def asked(what: str, **parameters: Any) -> httpx.Response:
        path = f"/v2/repository/models/accumulator/{what}"
        return client.post(path, json={"parameters": parameters})

    with own() as server, server.client() as client:
        make_accumulator(tmp_path / "models" / "two", "2")
        one, two = (("accumulator", version) for version in "12")
        assert listed() == [(*one, "READY"), (*two, "UNAVAILABLE")]
        assert listed(ready=True) == [(*one, "READY")]
        assert asked("load").status_code == 200
        assert listed() == [(*one, "READY"), (*two, "READY")]
        assert client.get("/v2/models/accumulator").json()["versions"] == ["1", "2"]

        step(client, 1, 7, "a", start=True)
        check(asked("unload"), 409, "version_in_use", "1 sessions live on accumulator 2")
        assert listed(ready=True) == [(*one, "READY"), (*two, "READY")]
        assert asked("unload", force=True, unload_dependents=True).status_code == 200
        assert listed() == [(*one, "UNAVAILABLE"), (*two, "UNAVAILABLE")]
        check(client.post(INFER, json=body_of()), 404, "model_not_found")
        assert client.post("/v2/repository/models/accumulator/load").status_code == 200
        assert step(client, 4, 7, "b") == (5, False)
        assert asked("unload", force=True).status_code == 200
        shutil.rmtree(tmp_path / "models" / "two")
        assert asked("load").status_code == 200
        body = body_of(parameters={"sequence_id": 7})
        check(client.post(INFER, json=body), 503, "model_not_loaded", "accumulator 2")
        assert step(client, 4, 7, "c", start=True) == (4, False)
        for what, parameters in (
            ("load", {"config": "{}"}),
            ("load", {"file:1/model.onnx": "AAAA"}),
            ("unload", {"force": 1}),
        ):
            check(asked(what, **parameters), 400, "invalid_request")
        shutil.rmtree(tmp_path / "models" / "one")
        assert listed() == [(*one, "READY")]
