"""Keys and tenants over every protocol, at a real server."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from service.app import HANDLERS
from tests.service.grpc.conftest import kept_port
from tests.service.keyed import bearer, new_key, revoke
from tests.service.serving import Server, served, until
from tests.service.stream.listening import listening
from tests.service.stream.socket import opened

ROW = np.full((1, 7), 0.5, np.float32)
BODY = {"inputs": ROW.tolist()}
RATE = 100


class Keyed(NamedTuple):
    """A server with keys, and some of them."""

    server: Server
    path: Path
    grpc: str
    acme: str
    bell: str
    looks: str  # acme's, which may only read
    admin: str

    def client(self, key: str) -> httpx.Client:
        return self.server.client(headers=bearer(key))


@pytest.fixture(scope="module")
def keyed(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Keyed]:
    folder = tmp_path_factory.mktemp("keyed")
    path = folder / "keys.json"
    made = [
        new_key(path, "acme", "read", "step"),
        new_key(path, "bell", "read", "step"),
        new_key(path, "acme", "read"),
        new_key(path, "ops", "admin"),
    ]
    with kept_port() as port:
        settings = {
            "NTM_KEYS": str(path), "NTM_GRPC_PORT": str(port), "NTM_TENANT_STREAMS": "3",
            "NTM_TENANT_REQUESTS_S": str(RATE), "NTM_TENANT_SESSIONS": "60",
        }  # fmt: skip
        with served(folder, models, **settings) as server:
            yield Keyed(server, path, f"127.0.0.1:{port}", *made)


@pytest.fixture
def acme(keyed: Keyed) -> Iterator[httpx.Client]:
    with keyed.client(keyed.acme) as client:
        yield client


@pytest.fixture
def bell(keyed: Keyed) -> Iterator[httpx.Client]:
    with keyed.client(keyed.bell) as client:
        yield client


def begun(client: httpx.Client, **body: Any) -> str:
    answer = client.post("/v1/models/small/sessions", json=body)
    assert answer.status_code == 201, answer.text
    return f"/v1/sessions/{answer.json()['id']}"


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def filled(path: str) -> str:
    """A route's path with a name for each parameter."""
    return re.sub(r"{\w+:str}", "small", path)


def test_every_route_but_the_open_ones_is_shut_to_whoever_has_no_key(keyed: Keyed):
    with keyed.server.client() as nobody:
        for handler in HANDLERS:
            for path in handler.paths:
                (method,) = handler.http_methods
                answer = nobody.request(method, filled(path))
                if handler.opt["scope"] == "open":
                    assert answer.status_code in (200, 426), path
                    continue
                assert answer.status_code == 401, (method, path)
                assert answer.headers["www-authenticate"] == "Bearer"
                if path.startswith("/v2"):
                    assert answer.json()["error"].startswith("unauthenticated: ")
                else:
                    assert answer.json()["code"] == "unauthenticated"
                    assert answer.headers["content-type"] == "application/problem+json"
        assert nobody.get("/schema/openapi.json").status_code == 200


def test_another_tenants_session_answers_as_one_that_nobody_has(
    acme: httpx.Client, bell: httpx.Client
):
    session = begun(acme, id="mine")
    acme.post(f"{session}/steps", json=BODY)
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "", {}), ("DELETE", "", {}), ("POST", "/steps", {"json": BODY}),
        ("GET", "/memory", {}), ("POST", "/reset", {}), ("POST", "/fork", {}),
        ("POST", "/restore", {"json": {"step": 0}}), ("POST", "/snapshots", {}),
        ("GET", "/snapshots", {}), ("GET", "/history", {}), ("GET", "/state", {}),
        ("GET", "/trace", {}), ("GET", "/explain", {}),
        ("POST", "/migrate", {"json": {"version": "2"}}), ("GET", "/events", {}),
    ]  # fmt: skip
    for method, tail, body in calls:
        met = [
            bell.request(method, f"/v1/sessions/{name}{tail}", **body) for name in ("mine", "none")
        ]
        assert code(met[0]) == code(met[1]) == (404, "session_not_found"), tail
        texts = [
            re.sub(r'"request_id":"[^"]*"', "", answer.text).replace(name, "NAME")
            for answer, name in zip(met, ("mine", "none"), strict=True)
        ]
        assert texts[0] == texts[1], tail
    assert [s["id"] for s in bell.get("/v1/sessions").json()["sessions"]] == []
    assert acme.get(session).json()["step"] == 1
    assert begun(bell, id="mine") == session  # a name is each tenant's own
    assert bell.get(session).json()["step"] == 0
    for client in (acme, bell):
        assert client.delete(session).status_code == 204


def test_a_key_may_do_what_its_scopes_say_and_its_tenant_is_one(keyed: Keyed, acme: httpx.Client):
    session = begun(acme)
    with keyed.client(keyed.looks) as looks, keyed.client(keyed.admin) as admin:
        assert looks.get(session).json()["step"] == 0
        assert code(looks.post(f"{session}/steps", json=BODY)) == (403, "forbidden")
        assert code(looks.delete(session)) == (403, "forbidden")
        assert code(looks.get("/metrics")) == (403, "forbidden")
        assert looks.get("/v2/models/small/stats").json()["error"].startswith("forbidden: ")
        assert code(admin.get(session)) == (403, "forbidden")
        assert "ntm_sessions" in admin.get("/metrics").text
        assert admin.post("/v1/models/reload").json() == {"models": []}
        told = [client.get("/v1/tenant").json() for client in (acme, looks, admin)]
    assert [(t["tenant"], t["scopes"]) for t in told] == [
        ("acme", ["read", "step"]), ("acme", ["read"]), ("ops", ["admin"])
    ]  # fmt: skip
    assert told[0]["sessions"] == told[1]["sessions"] >= 1 and told[2]["sessions"] == 0
    assert told[0]["limits"]["sessions"] == 60
    acme.delete(session)


def test_the_same_over_a_websocket_and_events(keyed: Keyed, acme: httpx.Client):
    session = begun(acme)
    for headers, status in (
        ({}, 401), (bearer(keyed.looks), 403), (bearer(keyed.bell), 404),
        ({**bearer(keyed.acme), "origin": "http://evil.example"}, 403),
    ):  # fmt: skip
        with pytest.raises(InvalidStatus) as refused:
            with opened(keyed.server.url, session, additional_headers=headers):
                pass
        assert refused.value.response.status_code == status
        assert b"request_id" in (refused.value.response.body or b"")
    with opened(keyed.server.url, session, additional_headers=bearer(keyed.acme)) as socket:
        assert socket.said["step"] == 0
        socket.step(0, ROW)
    with keyed.server.client() as nobody:
        assert code(nobody.get(f"{session}/events")) == (401, "unauthenticated")
    acme.delete(session)


def test_what_is_open_ends_when_its_key_is_revoked(keyed: Keyed, acme: httpx.Client):
    key = new_key(keyed.path, "acme", "step", "read")
    session = begun(acme)
    until(lambda: acme.get(session, headers=bearer(key)).status_code == 200)
    with (
        opened(keyed.server.url, session, additional_headers=bearer(key)) as socket,
        listening(keyed.server.url, session, headers=bearer(key)) as listener,
    ):
        socket.step(0, ROW)
        assert listener.next()
        revoke(keyed.path, key)
        until(lambda: acme.get(session, headers=bearer(key)).status_code == 401)
        socket.send(1, ROW)
        assert socket.receive()["code"] == "unauthenticated"
        with pytest.raises(ConnectionClosedError) as closed:
            socket.receive()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 4401
        acme.post(f"{session}/steps", json=BODY)
        told = listener.next()
        if told is not None and told.name == "stepped":  # it was on its way already
            told = listener.next()
        assert told is not None and told.data["code"] == "unauthenticated"
        assert listener.next() is None
    assert acme.get(session).json()["step"] == 2
    acme.delete(session)


def test_a_tenants_streams_are_limited_and_anothers_are_not_touched(
    keyed: Keyed, acme: httpx.Client, bell: httpx.Client
):
    mine, other = begun(acme), begun(bell)
    options = {"additional_headers": bearer(keyed.acme)}
    url = keyed.server.url
    with opened(url, mine, **options), opened(url, mine, **options), opened(url, mine, **options):
        assert code(acme.get(f"{mine}/events")) == (429, "too_many_streams")
        with listening(url, other, headers=bearer(keyed.bell)) as listener:
            bell.post(f"{other}/steps", json=BODY)
            told = listener.next()
            assert told is not None and told.name == "stepped"
    acme.delete(mine)
    bell.delete(other)


def test_one_who_sends_too_much_is_held_back_alone(keyed: Keyed):
    fast = new_key(keyed.path, "fast", "read")
    with keyed.client(fast) as client, keyed.client(keyed.bell) as bell:
        until(lambda: client.get("/v1/tenant").status_code == 200)
        refused = until(lambda: _refused(client))
        assert code(refused) == (429, "rate_limited") and refused.headers["retry-after"] == "1"
        assert bell.get("/v1/tenant").status_code == 200
        until(lambda: client.get("/v1/tenant").status_code == 200)


def _refused(client: httpx.Client) -> httpx.Response | None:
    """The first refusal of many requests in a row, by several threads at once."""
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda _: client.get("/v1/tenant"), range(2 * RATE))
        return next((answer for answer in answers if answer.is_error), None)


def test_sessions_of_a_tenant_are_limited(keyed: Keyed, bell: httpx.Client):
    key = new_key(keyed.path, "full", "read", "step")
    with keyed.client(key) as full:
        until(lambda: full.get("/v1/tenant").status_code == 200)
        sessions = [begun(full) for _ in range(60)]
        answer = full.post("/v1/models/small/sessions")
        assert code(answer) == (429, "too_many_sessions") and answer.headers["retry-after"]
        assert full.get("/v1/tenant").json()["sessions"] == 60
        bell.delete(begun(bell))
        full.delete(sessions[0])
        begun(full)


def rows_input(module: Any) -> Any:
    made = module.InferInput("x", [1, 7], "FP32")
    made.set_data_from_numpy(ROW)
    return made


def test_the_same_over_the_protocol_v2_and_grpc(keyed: Keyed):
    with triton_grpc.InferenceServerClient(keyed.grpc) as client:
        assert client.is_server_live() and client.is_server_ready()
        asked = rows_input(triton_grpc)
        for headers, status in (
            (None, "UNAUTHENTICATED"), (bearer("nonsense"), "UNAUTHENTICATED"),
            (bearer(keyed.looks), "PERMISSION_DENIED"),
        ):  # fmt: skip
            with pytest.raises(InferenceServerException) as refused:
                client.infer("small", [asked], headers=headers)
            assert refused.value.status() == f"StatusCode.{status}"
        with pytest.raises(InferenceServerException):
            client.get_inference_statistics("small", headers=bearer(keyed.acme))
        assert client.get_inference_statistics("small", headers=bearer(keyed.admin))
        begin = {"sequence_id": 7, "sequence_start": True}
        client.infer("small", [asked], headers=bearer(keyed.acme), **begin)
        client.infer("small", [asked], headers=bearer(keyed.bell), **begin)
    http = triton_http.InferenceServerClient(keyed.server.url.removeprefix("http://"))
    try:
        assert http.is_server_live()
        on = [
            http.infer("small", [rows_input(triton_http)], sequence_id=7, headers=bearer(key))
            for key in (keyed.acme, keyed.acme, keyed.bell)
        ]
        steps = [answer.get_response()["parameters"]["step"] for answer in on]
        assert steps == [2, 3, 2]  # the same sequence of each
        with pytest.raises(InferenceServerException, match="unauthenticated"):
            http.infer("small", [rows_input(triton_http)])
    finally:
        http.close()


def test_a_grpc_stream_is_shut_without_a_key(keyed: Keyed):
    channel = grpc.insecure_channel(keyed.grpc)
    call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
    with pytest.raises(grpc.RpcError) as refused:
        list(call(iter(())))
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert list(call(iter(()), metadata=tuple(bearer(keyed.acme).items()))) == []
    channel.close()


def test_keys_are_in_no_log_line_and_no_metric(keyed: Keyed):
    with keyed.client(keyed.admin) as admin:
        shown = admin.get("/metrics").text + keyed.server.text()
    for key in (keyed.acme, keyed.bell, keyed.looks, keyed.admin):
        assert key.split("_")[2] not in shown
    for line in keyed.server.text().splitlines():
        assert "Traceback" not in line
