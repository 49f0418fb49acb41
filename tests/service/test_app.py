import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from service.app import HANDLERS, create_app
from service.link import EngineLink
from service.results import StepsResult
from service.settings import Settings
from tests.service.fake_engine import FakeEngine, in_loop
from tests.service.serving import ROW, client_of

STEPS = "/v1/sessions/abc/steps"


class BrokenLink(EngineLink):
    """A link with a defect, to see a 500."""

    def __init__(self) -> None:
        super().__init__("nowhere", 1.0)

    async def call(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("a secret of the server")


def test_an_answer_carries_the_request_id_it_was_sent(client: httpx.Client):
    answer = client.get("/v1/models", headers={"x-request-id": "trace-1/2.3"})
    assert answer.headers["x-request-id"] == "trace-1/2.3"


@pytest.mark.parametrize("sent", [None, "", "a b", "x" * 129, "ä".encode(), "<script>"])
def test_without_a_fit_request_id_one_is_drawn(client: httpx.Client, sent: Any):
    headers = {} if sent is None else {b"x-request-id": sent}
    drawn = [client.get("/v1/models", headers=headers).headers["x-request-id"] for _ in range(2)]
    assert drawn[0] != drawn[1]
    assert all(re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]{12}", name) for name in drawn)


def test_every_answer_has_one_request_id_errors_too(client: httpx.Client):
    for method, path in [("GET", "/nothing"), ("PUT", "/v1/models"), ("GET", "/schema")]:
        answer = client.request(method, path, headers={"x-request-id": "mine"})
        assert answer.headers.get_list("x-request-id") == ["mine"]


@in_loop
async def test_a_defect_is_a_500_that_gives_nothing_away(caplog: pytest.LogCaptureFixture):
    async with client_of(create_app(Settings(), BrokenLink())) as client:
        answer = await client.get("/v1/models", headers={"x-request-id": "r-1"})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    (record,) = caplog.records
    assert vars(record)["request_id"] == "r-1" and "a secret of the server" in caplog.text


def test_the_schema_lists_every_route(client: httpx.Client):
    document = client.get("/schema/openapi.json").json()
    listed = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }
    assert listed >= {
        ("POST", "/v1/models/{model}/sessions"),
        ("GET", "/v1/sessions"),
        ("GET", "/v1/sessions/{session_id}"),
        ("DELETE", "/v1/sessions/{session_id}"),
        ("POST", "/v1/sessions/{session_id}/steps"),
        ("GET", "/v1/sessions/{session_id}/memory"),
        ("POST", "/v1/models/{model}/predict"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/{model}"),
        ("GET", "/health/live"),
        ("GET", "/health/ready"),
    }
    # /metrics is not JSON, and the Open Inference Protocol has a specification of its own.
    ours = [one for one in HANDLERS if getattr(one, "include_in_schema", False) is not False]
    assert len(listed) == len(ours)


def test_the_schema_tells_bodies_headers_and_problems(client: httpx.Client):
    document = client.get("/schema/openapi.json").json()
    steps = document["paths"]["/v1/sessions/{session_id}/steps"]["post"]
    shapes, kept = document["components"]["schemas"], document["components"]["responses"]
    assert steps["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/StepsBody"
    }
    body = shapes["StepsBody"]
    assert body["required"] == ["inputs"] and body["additionalProperties"] is False
    assert {p["name"] for p in steps["parameters"]} == {
        "session_id",
        "Idempotency-Key",
        "Priority",
        "If-Match",
    }
    assert set(steps["responses"]) >= {"200", "400", "404", "410", "412", "413", "422", "429"}
    for status in ("400", "404", "503"):
        assert steps["responses"][status] == {"$ref": f"#/components/responses/{status}"}
        content = kept[status]["content"]
        assert content["application/problem+json"]["schema"]["$ref"].endswith("/Problem")


def test_the_schema_tells_numbers_as_lists_in_json_and_as_bytes_in_msgpack(client: httpx.Client):
    document = client.get("/schema/openapi.json").json()
    shapes = document["components"]["schemas"]
    steps = document["paths"]["/v1/sessions/{session_id}/steps"]["post"]["responses"]["200"]
    told = {kind: media["schema"]["$ref"] for kind, media in steps["content"].items()}
    assert told == {
        "application/json": "#/components/schemas/StepsAnswer",
        "application/msgpack": "#/components/schemas/PackedStepsAnswer",
    }
    rows = {"type": "array", "items": {"type": ["number", "null"]}}
    assert shapes["StepsAnswer"]["properties"]["outputs"] == {"type": "array", "items": rows}
    tensor = {"$ref": "#/components/schemas/PackedTensor"}
    assert shapes["PackedStepsAnswer"]["properties"]["outputs"] == tensor
    assert shapes["PackedTensor"]["properties"]["data"]["format"] == "binary"
    assert shapes["PackedTensorView"]["properties"]["data"] == {
        "type": "string",
        "format": "binary",
    }


def test_every_link_of_the_schema_leads_to_an_operation_and_names_its_parameters(
    client: httpx.Client,
):
    document = client.get("/schema/openapi.json").json()
    operations = {
        operation["operationId"]: operation
        for methods in document["paths"].values()
        for operation in methods.values()
    }
    links = [
        link
        for operation in operations.values()
        for response in operation["responses"].values()
        for link in response.get("links", {}).values()
    ]
    assert len(links) > 60
    for link in links:
        taken = {one["name"] for one in operations[link["operationId"]].get("parameters", ())}
        assert {name.split(".")[-1] for name in link["parameters"]} <= taken


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/sessions/some", "DELETE, GET, OPTIONS"),
        ("/v1/sessions/some/state", "GET, OPTIONS, PUT"),
        ("/v2/models/some/versions/1/infer", "OPTIONS, POST"),
    ],
)
def test_options_tell_every_method_of_a_path(client: httpx.Client, path: str, allowed: str):
    answer = client.options(path)
    assert (answer.status_code, answer.headers["allow"]) == (204, allowed)


def test_every_reference_of_the_schema_has_its_shape(client: httpx.Client):
    text = client.get("/schema/openapi.json").text
    shapes = client.get("/schema/openapi.json").json()["components"]["schemas"]
    found = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert found and found <= set(shapes)


def test_the_page_of_the_schema_needs_nothing_from_elsewhere(client: httpx.Client):
    answer = client.get("/schema")
    assert answer.headers["content-type"].startswith("text/html")
    assert "<script" not in answer.text
    assert re.findall(r'(?:src|href)="((?:https?:)?//[^"]*)"', answer.text) == []
    assert "POST /v1/sessions/{session_id}/steps" in answer.text


def test_the_schema_is_there_as_yaml_and_an_unknown_page_is_a_problem(client: httpx.Client):
    assert client.get("/schema/openapi.yaml").text.startswith("components:")
    unknown = client.get("/schema/nothing")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "route_not_found")


@in_loop
async def test_two_apps_in_one_process_count_apart():
    async with (
        client_of(create_app(Settings(), EngineLink("nowhere", 1.0))) as first,
        client_of(create_app(Settings(), EngineLink("nowhere", 1.0))) as second,
    ):
        await first.get("/health/live")
        sample = 'ntm_http_requests_total{front="0",method="GET",route="/health/live"'
        texts = [(await client.get("/metrics")).text for client in (first, second)]
    assert [sample in text for text in texts] == [True, False]


@in_loop
async def test_a_client_that_goes_away_amid_a_step_is_counted_and_its_step_given_up(
    tmp_path: Path,
):
    async with FakeEngine(str(tmp_path / "engine.sock")) as engine:
        link = EngineLink(engine.path, 10.0)
        await link.open()
        await engine.until(lambda: engine.connected)
        app = create_app(Settings(), link)
        body = msgspec.json.encode({"inputs": [ROW]})
        messages = [{"type": "http.request", "body": body}, {"type": "http.disconnect"}]
        sent: list[Any] = []

        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": STEPS,
            "raw_path": STEPS.encode(),
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
            "root_path": "",
        }
        await app(scope, receive, send)  # pyright: ignore[reportArgumentType]
        step, cancel = await engine.received(2)
        assert cancel.cancel == step.number
        assert sent[0]["status"] == 499
        async with client_of(app) as client:
            scrape = asyncio.create_task(client.get("/metrics"))
            engine.reply((await engine.received(3))[2].number, b"")
            assert 'ntm_errors_total{code="client_gone",front="0"} 1.0' in (await scrape).text
        await link.close()


@in_loop
async def test_a_replayed_step_says_so(tmp_path: Path):
    async with FakeEngine(str(tmp_path / "engine.sock")) as engine:
        link = EngineLink(engine.path, 10.0)
        await link.open()
        await engine.until(lambda: engine.connected)
        async with client_of(create_app(Settings(), link)) as client:
            posted = asyncio.create_task(client.post(STEPS, json={"inputs": [ROW]}))
            (call,) = await engine.received(1)
            result = StepsResult(b"\0\0\0\x3f" * 8, (1, 8), 4, 5, "8kq3", None, True)
            engine.reply(call.number, result)
            answer = await posted
        assert answer.json() == {"outputs": [[0.5] * 8], "step": 4, "revision": 5}
        assert answer.headers["etag"] == '"8kq3-5"'
        assert answer.headers["idempotency-replayed"] == "true"
        await link.close()
