"""Steps below ASGI: they never reach the app, and nobody can tell from their answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from service import hot_routes
from service.errors import SessionNotFound
from service.requests import Sequence, Steps
from service.results import StepsResult
from tests.service.fake_engine import in_uvloop as in_loop
from tests.service.fronting import Fronting, RefusingEngine, fronting
from tests.service.keyed import new_key
from tests.service.serving import ROW

SESSION = "/v1/sessions/abc/steps"
STEP = json.dumps({"inputs": [ROW]}).encode()
DONE = StepsResult(bytes(32), (1, 8), 1, 2, "8kq3", None, False, "abc", "1")
VARYING = {"date", "x-request-id"}
LITESTARS = {"expect": "100-continue"}  # makes a request the app's, and changes nothing else


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the requests that come to the app."""
    from service.access import Access

    paths: list[str] = []
    call = Access.__call__

    async def noted(self: Access, scope: Any, receive: Any, send: Any) -> None:
        paths.append(scope.get("path", ""))
        await call(self, scope, receive, send)

    monkeypatch.setattr(Access, "__call__", noted)
    return paths


def granted(running: Fronting) -> Fronting:
    running.engine.granted |= {Steps: DONE, Sequence: DONE}
    running.engine.error = SessionNotFound("no such session")
    return running


def held(engine: RefusingEngine, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Nobody is answered but by what this returns: an error, by the number of the call."""
    fail, engine.error = engine.fail, SessionNotFound("")
    monkeypatch.setattr(engine, "fail", lambda *_: None)
    return lambda number: fail(number, engine.error)


def request(body: bytes = STEP, path: str = SESSION, *headers: str) -> bytes:
    lines = ["host: localhost", f"content-length: {len(body)}", *headers]
    return f"POST {path} HTTP/1.1\r\n".encode() + "\r\n".join([*lines, "", ""]).encode() + body


async def opened(running: Fronting) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", int(running.url.rsplit(":", 1)[1]))


async def answer_of(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    at = head.lower().index(b"content-length: ") + 16
    return head, await reader.readexactly(int(head[at : head.index(b"\r", at)]))


@in_loop
async def test_a_plain_step_does_not_reach_the_app_and_any_other_request_does(
    tmp_path: Path, reached: list[str]
):
    async with fronting(tmp_path) as running:
        granted(running)
        reader, writer = await opened(running)
        for sent in (request(), request(STEP, SESSION, "idempotency-key: k", "priority: u=0")):
            writer.write(sent)
            head, body = await answer_of(reader)
            assert head.startswith(b"HTTP/1.1 200 OK\r\n") and b"outputs" in body
        assert not reached
        odd = (
            request(STEP, SESSION, "origin: http://localhost"),
            request(STEP, SESSION + "?"),
            request(STEP, SESSION.replace("abc", "%61bc")),
            request(STEP + b" " * 70_000),
        )
        for sent in odd:
            writer.write(sent)
            assert (await answer_of(reader))[0].startswith(b"HTTP/1.1 200 ")
        assert len(reached) == len(odd)
        writer.close()


@in_loop
async def test_a_body_that_comes_later_is_waited_for_a_moment_and_then_the_apps(
    tmp_path: Path, reached: list[str]
):
    async with fronting(tmp_path) as running:
        granted(running)
        reader, writer = await opened(running)
        sent = request()
        writer.write(sent[:-10])
        await asyncio.sleep(0.02)
        writer.write(sent[-10:])
        assert (await answer_of(reader))[0].startswith(b"HTTP/1.1 200 ")
        assert SESSION not in reached
        writer.write(sent[:-10])
        while SESSION not in reached:
            await asyncio.sleep(0.005)
        writer.write(sent[-10:])
        assert (await answer_of(reader))[0].startswith(b"HTTP/1.1 200 ")
        writer.close()


@in_loop
async def test_pipelined_steps_are_answered_in_their_order(tmp_path: Path):
    async with fronting(tmp_path) as running:
        engine = running.engine
        engine.granted = {}
        reader, writer = await opened(running)
        engine.error = SessionNotFound("")
        names = [f"s{at}" for at in range(5)]
        writer.write(b"".join(request(STEP, f"/v1/sessions/{name}/steps") for name in names))
        told = [json.loads((await answer_of(reader))[1])["got"] for _ in names]
        assert told == names
        writer.close()


@in_loop
async def test_a_client_that_goes_away_has_its_step_given_up_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with fronting(tmp_path) as running:
        engine = running.engine
        monkeypatch.setattr(engine, "fail", lambda *_: None)
        engine.error = SessionNotFound("")
        _, writer = await opened(running)
        writer.write(request())
        (call,) = await engine.received(1)
        writer.close()
        gave_up = await engine.received(2)
        assert gave_up[1].cancel == call.number
        told = running.state.metrics.text().decode()
        assert 'ntm_errors_total{code="client_gone",front="0"} 1.0' in told
        assert 'ntm_http_requests_in_flight{front="0"} 0.0' in told


@in_loop
async def test_a_server_that_stops_answers_what_is_under_way_and_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with fronting(tmp_path) as running:
        engine = running.engine
        fail = held(engine, monkeypatch)
        reader, writer = await opened(running)
        writer.write(request())
        (call,) = await engine.received(1)
        for connection in list(running.connections):
            connection.shutdown()
        fail(call.number)
        head, _ = await answer_of(reader)
        assert b"connection: close\r\n" in head.lower() and await reader.read() == b""
        writer.close()


@in_loop
async def test_a_defect_is_a_500_and_the_connection_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with fronting(tmp_path) as running:
        granted(running)
        reader, writer = await opened(running)
        with monkeypatch.context() as broken:
            broken.setattr("service.steps.answer", lambda *_: 1 / 0)
            writer.write(request())
            head, body = await answer_of(reader)
        assert head.startswith(b"HTTP/1.1 500 ") and json.loads(body)["code"] == "internal"
        writer.write(request())
        assert (await answer_of(reader))[0].startswith(b"HTTP/1.1 200 ")
        writer.close()


HANDSHAKE = (
    b"GET /v1/sessions/abc/stream HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n"
    b"connection: upgrade\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize("behind", [HANDSHAKE, b"GET /health/live HTTP/1.1\r\nhost: l\r\n\r\n"])
@in_loop
async def test_what_stands_behind_a_step_of_a_client_that_goes_hurts_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: bytes
):
    async with fronting(tmp_path) as running:
        engine = running.engine
        fail = held(engine, monkeypatch)
        reader, writer = await opened(running)
        writer.write(request())
        (other,) = await engine.received(1)
        _, gone = await opened(running)
        gone.write(request() + behind)
        mine = (await engine.received(2))[1]
        gone.transport.abort()  # which nobody sees while what is behind waits unread
        fail(mine.number)
        fail(other.number)
        assert (await answer_of(reader))[0].startswith(b"HTTP/1.1 404 ")
        assert running.state.link.connected and running.state.metrics.in_flight == 0
        writer.write(request())
        fail((await engine.received(3))[2].number)
        assert (await answer_of(reader))[0].startswith(b"HTTP/1.1 404 ")
        writer.close()


@in_loop
async def test_a_handshake_behind_a_step_is_not_made_and_the_step_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with fronting(tmp_path) as running:
        engine = running.engine
        fail = held(engine, monkeypatch)
        reader, writer = await opened(running)
        writer.write(request() + HANDSHAKE)
        (call,) = await engine.received(1)
        fail(call.number)
        head, _ = await answer_of(reader)
        assert head.startswith(b"HTTP/1.1 404 ") and b"connection: close" in head
        assert await reader.read() == b""
        writer.close()


@in_loop
async def test_a_step_behind_one_that_was_refused_at_once_outlives_the_keep_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("service.front.KEEP_ALIVE_S", 0.05)
    async with fronting(tmp_path) as running:
        engine = running.engine
        fail = held(engine, monkeypatch)
        reader, writer = await opened(running)
        writer.write(request(b"{") + request())
        assert (await answer_of(reader))[0].startswith(b"HTTP/1.1 400 ")
        (call,) = await engine.received(1)
        await asyncio.sleep(0.15)
        fail(call.number)
        assert (await answer_of(reader))[0].startswith(b"HTTP/1.1 404 ")
        assert await reader.read() == b""  # and then it is closed for its rest
        writer.close()


@in_loop
async def test_a_head_too_long_is_told_before_its_body_has_come(tmp_path: Path):
    async with fronting(tmp_path) as running:
        granted(running)
        for before in (b"", request()):
            reader, writer = await opened(running)
            if before:
                writer.write(before)
                await answer_of(reader)
            sent = request(STEP, SESSION, "a: " + "x" * 140_000)
            writer.write(sent[: -len(STEP)])
            assert (await answer_of(reader))[0].startswith(b"HTTP/1.1 431 ")
            writer.close()


@in_loop
async def test_a_server_that_stops_answers_a_step_whose_body_is_still_to_come(tmp_path: Path):
    async with fronting(tmp_path) as running:
        granted(running)
        reader, writer = await opened(running)
        sent = request()
        writer.write(sent[:-10])
        while not any(connection._hit for connection in running.connections):
            await asyncio.sleep(0.001)
        for connection in list(running.connections):
            connection.shutdown()
        writer.write(sent[-10:])
        head, _ = await answer_of(reader)
        assert head.startswith(b"HTTP/1.1 200 ") and b"connection: close" in head
        writer.close()


@in_loop
async def test_an_answered_connection_keeps_nothing_of_its_step(tmp_path: Path):
    async with fronting(tmp_path) as running:
        granted(running)
        reader, writer = await opened(running)
        writer.write(request())
        await answer_of(reader)
        (connection,) = running.connections
        kept = connection.cycle
        assert connection._hot_cycle is None and connection._hot_body == []
        assert kept._asked is kept._scope is kept._pending is None and kept._head == {}
        writer.close()


@in_loop
async def test_of_two_request_ids_the_first_counts_on_both_ways(tmp_path: Path):
    async with fronting(tmp_path) as running:
        granted(running)
        reader, writer = await opened(running)
        for more in ((), ("origin: http://localhost",)):
            writer.write(request(STEP, SESSION, "x-request-id: a", "x-request-id: b", *more))
            assert b"x-request-id: a\r\n" in (await answer_of(reader))[0]
        writer.close()


BAD = {
    "malformed": (b'{"inputs": [[', {}),
    "empty": (b"", {}),
    "no rows": (b'{"inputs": []}', {}),
    "ragged": (b'{"inputs": [[1, 2], [1]]}', {}),
    "of another width": (b'{"inputs": [[1, 2]]}', {}),
    "an unknown field": (b'{"inputs": [[1]], "a": 1}', {}),
    "past float32": (b'{"inputs": [[1e39]]}', {}),
    "too deep": (b'{"inputs": ' + b"[" * 50 + b"]" * 50 + b"}", {}),
    "of another type": (STEP, {"content-type": "text/plain"}),
    "compressed": (STEP, {"content-encoding": "gzip"}),
    "a malformed key": (STEP, {"idempotency-key": "a b"}),
    "a malformed tag": (STEP, {"if-match": "8kq3"}),
    "another revision's tag": (STEP, {"if-match": '"8kq3-9"'}),
    "another host": (STEP, {"host": "example.com"}),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_told_alike_on_both_ways(client: httpx.Client, session: str, name: str):
    body, headers = BAD[name]
    told = [
        client.post(f"{session}/steps", content=body, headers=headers | extra)
        for extra in ({}, LITESTARS)
    ]
    plain, litestars = map(_told, told)
    assert plain == litestars and plain[0] >= 400


@pytest.mark.parametrize("path", ["/v1/sessions/unknown/steps", "/v1/sessions/~/steps"])
def test_a_session_that_is_not_there_is_told_alike_on_both_ways(client: httpx.Client, path: str):
    told = [_told(client.post(path, content=STEP, headers=extra)) for extra in ({}, LITESTARS)]
    assert told[0] == told[1] and told[0][0] == 404


@pytest.mark.parametrize("accept", ["application/json", "application/msgpack"])
def test_a_step_is_answered_alike_on_both_ways(client: httpx.Client, accept: str, session: str):
    other = client.post("/v1/models/copy/sessions").json()["id"]
    body = msgspec.msgpack.encode({"inputs": [ROW, ROW], "trace": True})
    kinds = {"content-type": "application/msgpack", "accept": accept, "idempotency-key": "once"}
    ways = ((session, {}), (f"/v1/sessions/{other}", LITESTARS))
    for replayed in (False, True):
        found = [
            client.post(f"{path}/steps", content=body, headers=kinds | extra)
            for path, extra in ways
        ]
        heads = [set(answer.headers) - VARYING for answer in found]
        assert [answer.status_code for answer in found] == [200, 200]
        assert heads[0] == heads[1] and ("idempotency-replayed" in heads[0]) == replayed
        assert found[0].content == found[1].content
        assert found[0].headers["content-type"] == accept


@pytest.mark.parametrize("path", ["/v2/models/copy/infer", "/v2/models/copy/versions/1/infer"])
@pytest.mark.parametrize("binary", [False, True])
def test_a_row_of_a_sequence_is_answered_alike_on_both_ways(
    client: httpx.Client, path: str, binary: bool
):
    tensor = {"name": "x", "shape": [1, 9], "datatype": "FP32", "data": ROW}
    found: list[tuple[int, bytes, set[str]]] = []
    for extra in ({}, LITESTARS):
        client.post(path, json=_row(tensor, 77, binary, end=True), headers=extra)
        for start in (True, False):
            answer = client.post(path, json=_row(tensor, 77, binary, start=start), headers=extra)
            found.append((answer.status_code, answer.content, set(answer.headers) - VARYING))
    assert found[:2] == found[2:] and [status for status, *_ in found] == [200] * 4
    assert found[0][1] != found[1][1]


@in_loop
async def test_a_row_without_a_key_is_refused_before_its_body_is_read(
    tmp_path: Path, reached: list[str], monkeypatch: pytest.MonkeyPatch
):
    read: list[bytes] = []
    whole = hot_routes.binary.read
    monkeypatch.setattr(
        hot_routes.binary, "read", lambda *given: read.append(given[2]) or whole(*given)
    )
    key = new_key(tmp_path / "keys.json", "acme", "step")
    async with fronting(tmp_path, keys=str(tmp_path / "keys.json")) as running:
        granted(running)
        reader, writer = await opened(running)
        tensor = {"name": "x", "shape": [1, 9], "datatype": "FP32", "data": ROW}
        body = json.dumps(_row(tensor, 79, False)).encode()
        for given, status in (("none", b"401"), (key, b"200")):
            writer.write(request(body, "/v2/models/copy/infer", f"authorization: Bearer {given}"))
            assert (await answer_of(reader))[0].split()[1] == status
        assert reached == ["/v2/models/copy/infer"] and read == [body]
        writer.close()


@pytest.mark.parametrize(
    "change",
    [{"name": "z"}, {"shape": [2, 9]}, {"shape": [1, 2], "data": [0, 1]}, {"datatype": "BYTES"}],
)
def test_what_is_wrong_with_a_row_of_a_sequence_is_told_alike_on_both_ways(
    client: httpx.Client, change: dict[str, Any]
):
    tensor = {"name": "x", "shape": [1, 9], "datatype": "FP32", "data": ROW} | change
    body = _row(tensor, 78, False, start=True)
    told = [
        client.post("/v2/models/copy/infer", json=body, headers=extra) for extra in ({}, LITESTARS)
    ]
    assert told[0].status_code == told[1].status_code >= 400
    assert told[0].json() == told[1].json()


def _row(
    tensor: dict[str, Any], number: int, binary: bool, start: bool = False, end: bool = False
) -> dict[str, Any]:
    sequence = {"sequence_id": number, "sequence_start": start or end, "sequence_end": end}
    return {"inputs": [tensor], "parameters": sequence | {"binary_data_output": binary}}


def _told(answer: httpx.Response) -> tuple[int, dict[str, Any], dict[str, str]]:
    body = answer.json()
    assert body.pop("request_id") == answer.headers["x-request-id"]
    return answer.status_code, body, {k: v for k, v in answer.headers.items() if k not in VARYING}
