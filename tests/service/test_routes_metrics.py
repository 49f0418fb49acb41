from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from service.app import create_app
from service.settings import Settings
from tests.service.fake_engine import in_loop
from tests.service.serving import ROW, client_of, until


def series(client: httpx.Client) -> dict[str, list[Any]]:
    """The samples of each metric of an exposition."""
    text = client.get("/metrics").text
    return {family.name: family.samples for family in text_string_to_metric_families(text)}


def counted(client: httpx.Client, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    wanted = labels.items()
    return sum(
        sample.value
        for samples in series(client).values()
        for sample in samples
        if sample.name == name and wanted <= sample.labels.items()
    )


def test_the_exposition_is_prometheus_text_of_front_and_engine(client: httpx.Client):
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    names = set(series(client))
    assert {"ntm_http_requests", "ntm_build_info", "ntm_engine_up"} <= names
    assert {"ntm_queue_seconds", "ntm_batch_size", "ntm_model_info", "ntm_sessions"} <= names
    assert all(name.startswith("ntm_") for name in names)


def test_no_metric_is_told_twice(client: httpx.Client):
    lines = client.get("/metrics").text.splitlines()
    types = [line.split()[2] for line in lines if line.startswith("# TYPE ")]
    assert len(types) == len(set(types))


def test_requests_are_counted_by_the_template_of_their_route(client: httpx.Client, session: str):
    labels = {"method": "POST", "route": "/v1/sessions/{session_id}/steps", "status": "200"}
    before = counted(client, "ntm_http_requests_total", **labels)
    for _ in range(3):
        client.post(f"{session}/steps", json={"inputs": [ROW]})
    assert counted(client, "ntm_http_requests_total", **labels) == before + 3


def test_no_session_is_ever_a_label(client: httpx.Client, session: str):
    name = session.rpartition("/")[2]
    client.post(f"{session}/steps", json={"inputs": [ROW]})
    client.get(f"{session}/nothing")
    client.get(f"/v1/sessions/absent-{name}")
    client.get(f"/{name}")
    client.request("POST", session)
    assert name not in client.get("/metrics").text


def test_errors_are_counted_by_code(client: httpx.Client):
    before = counted(client, "ntm_errors_total", code="session_not_found")
    client.get("/v1/sessions/nobody")
    assert counted(client, "ntm_errors_total", code="session_not_found") == before + 1


def test_the_one_request_in_flight_is_the_scrape_itself(client: httpx.Client):
    until(lambda: counted(client, "ntm_http_requests_in_flight") == 1)


@in_loop
async def test_while_the_engine_is_away_the_front_tells_its_own(tmp_path: Path):
    app = create_app(Settings(engine_socket=str(tmp_path / "nobody.sock")))
    async with app.lifespan(), client_of(app) as client:
        answer = await client.get("/metrics")
        assert answer.status_code == 200
        assert 'ntm_engine_up{front="0"} 0.0' in answer.text
        assert "ntm_queue_seconds" not in answer.text
