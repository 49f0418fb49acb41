"""NTM_TRACES: the spans of real requests, as a collector gets them from a real server."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc
import httpx
import pytest

from tests.service.collector import ERROR, SERVER, UNSET, Collector, Seen, collecting
from tests.service.grpc.conftest import kept_port, request, rows, unary
from tests.service.grpc.test_stream import first_and_next
from tests.service.grpc.test_stream import stream as grpc_stream
from tests.service.serving import ROW, Server, alive, served, until
from tests.service.stream.socket import opened, rows_of

PHASES = ("queue", "step", "commit")
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "50"}  # ms between two exports
STEPS = "POST /v1/sessions/{session_id}/steps"


class Parent:
    """A client's own span."""

    def __init__(self) -> None:
        self.trace, self.span = secrets.token_hex(16), secrets.token_hex(8)
        self.headers = {"traceparent": f"00-{self.trace}-{self.span}-01"}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def traced_port() -> Iterator[int]:
    with kept_port() as port:
        yield port


@pytest.fixture(scope="module")
def traced(
    models: Path, collector: Collector, traced_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    settings = SOON | {
        "NTM_TRACES": "1",
        "NTM_GRPC_PORT": str(traced_port),
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
    }
    with served(tmp_path_factory.mktemp("traced"), models, **settings) as running:
        yield running


@pytest.fixture
def http(traced: Server) -> Iterator[httpx.Client]:
    with traced.client() as client:
        yield client


def begun(http: httpx.Client) -> str:
    """The path of a fresh session of the copy model."""
    return f"/v1/sessions/{http.post('/v1/models/copy/sessions').json()['id']}"


def stepped(http: httpx.Client, session: str, count: int = 1) -> Parent:
    """Step a session under a span of the client's."""
    parent = Parent()
    answer = http.post(f"{session}/steps", json={"inputs": [ROW] * count}, headers=parent.headers)
    assert answer.status_code == 200, answer.text
    return parent


def test_a_step_is_one_trace_from_the_client_through_both_processes(
    http: httpx.Client, collector: Collector
):
    parent = stepped(http, begun(http), count=3)
    found = collector.whole(parent.trace, STEPS, *PHASES, "batch")
    front = found[STEPS]
    assert (front.parent, front.kind, front.process) == (parent.span, SERVER, "front 0")
    for name in (*PHASES, "batch"):
        assert (found[name].parent, found[name].process) == (front.id, "engine")
        assert found[name].status == UNSET
    assert len(collector.of(parent.trace)) == 5
    assert front.about["http.request.method"] == "POST"
    assert front.about["http.route"] == "/v1/sessions/{session_id}/steps"
    assert front.about["http.response.status_code"] == 200
    about = {"ntm.model": "copy", "ntm.model_version": "1", "ntm.rows": 3}
    assert found["step"].about == about == found["queue"].about == found["commit"].about
    assert found["batch"].about == about | {"ntm.batch_size": 1}


def test_the_phases_follow_each_other_within_the_request(http: httpx.Client, collector: Collector):
    parent = stepped(http, begun(http))
    found = collector.whole(parent.trace, STEPS, *PHASES, "batch")
    front, queue, step, commit = (found[name] for name in (STEPS, *PHASES))
    times = [front.begin, queue.begin, queue.end, step.begin, step.end, commit.begin, commit.end]
    assert times == sorted(times) and commit.end <= front.end
    assert step.begin <= found["batch"].begin <= found["batch"].end <= step.end


def test_the_request_id_of_the_answer_is_on_its_span(http: httpx.Client, collector: Collector):
    parent = Parent()
    answer = http.get("/v1/models", headers=parent.headers)
    found = collector.whole(parent.trace, "GET /v1/models", "listmodels")
    assert found["GET /v1/models"].about["ntm.request_id"] == answer.headers["x-request-id"]
    assert found["listmodels"].parent == found["GET /v1/models"].id


def test_every_step_links_to_the_batches_that_ran_its_rows(
    http: httpx.Client, collector: Collector
):
    sessions = [begun(http) for _ in range(12)]
    with ThreadPoolExecutor(len(sessions)) as threads:
        parents = list(threads.map(lambda session: stepped(http, session, 40), sessions))
    ran: dict[str, int] = {}
    for parent in parents:
        step = collector.whole(parent.trace, STEPS, *PHASES)["step"]
        assert step.links
        for batch in step.links:
            ran[batch] = ran.get(batch, 0) + 1
    until(lambda: set(ran) <= {batch.id for batch in collector.named("batch")})
    batches = {batch.id: batch for batch in collector.named("batch")}
    assert all(batches[id].about["ntm.batch_size"] == count for id, count in ran.items())
    rows_run = sum(batches[id].about["ntm.rows"] for id in ran)
    assert rows_run == 12 * 40
    assert {batches[id].trace for id in ran} <= {parent.trace for parent in parents}


def test_without_a_clients_span_the_server_begins_a_trace(http: httpx.Client, collector: Collector):
    answer = http.post(f"{begun(http)}/steps", json={"inputs": [ROW]})
    name = answer.headers["x-request-id"]

    def mine() -> list[Seen]:
        return [s for s in collector.named(STEPS) if s.about["ntm.request_id"] == name]

    until(mine)
    (front,) = mine()
    assert front.parent == ""
    assert set(collector.whole(front.trace, STEPS, *PHASES, "batch")) == {STEPS, *PHASES, "batch"}


def test_a_trace_that_the_client_does_not_sample_is_not_sent(
    http: httpx.Client, collector: Collector
):
    parent, session = Parent(), begun(http)
    headers = {"traceparent": parent.headers["traceparent"][:-2] + "00"}
    http.post(f"{session}/steps", json={"inputs": [ROW]}, headers=headers)
    after = stepped(http, session)
    collector.whole(after.trace, STEPS, *PHASES, "batch")
    assert collector.of(parent.trace) == []


@pytest.mark.parametrize("sent", ["", "x" * 5000, "00-0-0-01", "ff-" + "0" * 32 + "-1-01", "\xff"])
def test_a_malformed_traceparent_harms_nobody(http: httpx.Client, collector: Collector, sent: str):
    headers = {b"traceparent": sent.encode("latin-1"), b"x-request-id": b"odd" + b"%d" % len(sent)}
    assert http.get("/health/live", headers=headers).status_code == 200
    name = f"odd{len(sent)}"
    until(lambda: [s for s in collector.spans if s.about.get("ntm.request_id") == name])


def test_a_clients_mistake_has_its_code_and_is_no_failure(http: httpx.Client, collector: Collector):
    parent, session = Parent(), begun(http)
    http.post(f"{session}/steps", json={"inputs": [[1.0]]}, headers=parent.headers)
    span = collector.whole(parent.trace, STEPS)[STEPS]
    assert (span.status, span.about["ntm.code"]) == (UNSET, "wrong_shape")
    assert span.about["http.response.status_code"] == 400
    parent = Parent()
    http.get("/nothing", headers=parent.headers)
    assert collector.whole(parent.trace, "GET")["GET"].about["ntm.code"] == "route_not_found"


def test_a_websocket_has_a_span_and_one_for_what_is_stepped_together(
    traced: Server, http: httpx.Client, collector: Collector
):
    parent = Parent()
    with opened(traced.url, begun(http), additional_headers=parent.headers) as socket:
        socket.step(0, rows_of(1, 2))
        frames = collector.whole(parent.trace, "stream frames", *PHASES, "batch")
        assert frames["commit"].parent == frames["stream frames"].id
        socket.send(9, rows_of(1, 1))
        assert socket.receive()["code"] == "step_gap"
    stream = "GET /v1/sessions/{session_id}/stream"
    found = collector.whole(parent.trace, stream)
    assert found[stream].parent == parent.span
    assert found[stream].about["http.response.status_code"] == 101
    assert {s.parent for s in collector.named("stream frames", parent.trace)} == {found[stream].id}


def test_grpc_has_a_span_a_call_and_one_a_request_of_a_stream(
    traced_port: int, traced: Server, collector: Collector
):
    parent, name = Parent(), "inference.GRPCInferenceService/"
    metadata = tuple(parent.headers.items())
    with grpc.insecure_channel(f"127.0.0.1:{traced_port}") as channel:
        body = request(rows(1), sequence_id=77, sequence_start=True).SerializeToString()
        unary(channel)(body, metadata=metadata)
        found = collector.whole(parent.trace, f"{name}ModelInfer", *PHASES, "batch")
        front = found[f"{name}ModelInfer"]
        assert (front.parent, front.kind, front.status) == (parent.span, SERVER, UNSET)
        assert front.about["rpc.response.status_code"] == "OK"
        assert {found[phase].parent for phase in PHASES} == {front.id}
        with pytest.raises(grpc.RpcError):
            unary(channel)(b"\xff", metadata=metadata)
        parent = Parent()
        given = first_and_next(rows(3), 78)
        list(grpc_stream(channel)(iter(given), metadata=tuple(parent.headers.items())))
        until(lambda: len(collector.named(f"{name}ModelStreamInfer", parent.trace)) == 3)


def test_no_span_tells_what_a_client_sent(traced: Server, http: httpx.Client, collector: Collector):
    mark, number = "s3cr3t", 0.62519
    http.post("/v1/models/copy/sessions", json={"id": f"{mark}-session"})
    headers = {"authorization": f"Bearer {mark}-key", "idempotency-key": f"{mark}-repeat"}
    parent = Parent()
    answer = http.post(
        f"/v1/sessions/{mark}-session/steps", json={"inputs": [[number] * 9]},
        headers=headers | parent.headers,
    )  # fmt: skip
    assert answer.status_code == 200
    http.get(f"/v1/sessions?cursor={mark}-query", headers=headers)
    http.get(f"/{mark}-path", headers=headers)
    http.post("/v1/models/copy/predict", content=f'{{"{mark}-field": 1}}', headers=headers)
    with opened(traced.url, f"/v1/sessions/{mark}-session", additional_headers=headers) as socket:
        socket.send(7, rows_of(1, 1))
        socket.receive()
    last = Parent()
    http.get("/v1/models", headers=last.headers)
    collector.whole(parent.trace, STEPS, *PHASES, "batch")
    collector.whole(last.trace, "GET /v1/models", "listmodels")
    assert b"ntm.request_id" in collector.raw  # attributes are in there as plain text
    assert mark.encode() not in collector.raw
    assert str(number).encode() not in collector.raw


def test_a_failure_is_an_error_and_what_is_left_is_sent_as_the_server_stops(
    models: Path, tmp_path: Path
):
    with collecting() as collector:
        settings = {
            "NTM_TRACES": "1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "60000",  # so that only the stop sends them
            "OTEL_SERVICE_NAME": "mine",
        }
        with served(tmp_path, models, **settings) as server, server.client() as http:
            parent = stepped(http, begun(http))
            (engine,) = server.children("service.engine.process")
            failed = Parent()
            os.kill(engine, signal.SIGKILL)
            until(lambda: not alive(engine))
            answer = http.get("/v1/models", headers=failed.headers)
            assert answer.status_code in (503, 504)
            until(lambda: http.get("/health/ready").status_code == 200)
            again = stepped(http, begun(http))
            assert collector.of(parent.trace) == []
            assert server.stop() == 0
        span = collector.whole(failed.trace, "GET /v1/models")["GET /v1/models"]
        code = answer.json()["code"]
        assert (span.status, span.about["ntm.code"], span.about["error.type"]) == (
            ERROR, code, code,
        )  # fmt: skip
        assert set(PHASES) <= {span.name for span in collector.of(again.trace)}
        assert b"mine" in collector.raw


def test_a_collector_that_is_away_disturbs_no_answer_and_no_stop(models: Path, tmp_path: Path):
    with ExitStack() as stack, ExitStack() as collectors:
        collector = collectors.enter_context(collecting())
        settings = SOON | {"NTM_TRACES": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        server = stack.enter_context(served(tmp_path, models, **settings))
        http = stack.enter_context(server.client())
        session = begun(http)
        parent = stepped(http, session)
        collector.whole(parent.trace, STEPS, *PHASES, "batch")
        collectors.close()
        for _ in range(200):
            stepped(http, session)
        until(lambda: "opentelemetry" in server.text())  # it has noticed
        stepped(http, session)
        assert server.stop() == 0
        assert "Traceback" not in server.text()
        assert "killed" not in server.text()
