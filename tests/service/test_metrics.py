import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.metrics import UNMATCHED, FrontMetrics, package_version


def samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Each sample of an exposition by its name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(text: bytes, name: str, **labels: Any) -> float:
    return samples(text)[name, frozenset((key, str(label)) for key, label in labels.items())]


def test_an_answer_is_counted_by_method_route_and_status():
    metrics = FrontMetrics()
    for status in (200, 200, 404):
        metrics.answered("GET", "/v1/models", status, 0.002)
    text = metrics.text()
    labels = {"method": "GET", "route": "/v1/models", "front": 0}
    assert value(text, "ntm_http_requests_total", status=200, **labels) == 2
    assert value(text, "ntm_http_requests_total", status=404, **labels) == 1
    assert value(text, "ntm_http_request_seconds_count", route="/v1/models", front=0) == 3


def test_seconds_fall_into_the_buckets_that_hold_them():
    metrics = FrontMetrics()
    metrics.answered("GET", "/v1/models", 200, 0.003)
    text, name = metrics.text(), "ntm_http_request_seconds_bucket"
    assert value(text, name, route="/v1/models", front=0, le="0.0025") == 0
    assert value(text, name, route="/v1/models", front=0, le="0.005") == 1


def test_a_method_that_nobody_knows_is_no_label():
    metrics = FrontMetrics()
    for at in range(50):
        metrics.answered(f"METHOD{at}", UNMATCHED, 405, 0.001)
    labels = {"method": "other", "route": UNMATCHED, "status": 405, "front": 0}
    assert value(metrics.text(), "ntm_http_requests_total", **labels) == 50


def test_the_build_is_told_by_labels():
    found = {name: dict(labels) for name, labels in samples(FrontMetrics().text())}
    build = found["ntm_build_info"]
    assert build["version"] == package_version()
    assert build["python"] == ".".join(map(str, sys.version_info[:3]))


def test_a_front_tells_what_the_others_have_published(tmp_path: Path):
    first, second = FrontMetrics(0, tmp_path), FrontMetrics(1, tmp_path)
    first.answered("GET", "/v1/models", 200, 0.001)
    for _ in range(5):
        second.answered("GET", "/v1/models", 200, 0.001)
    second.publish()
    first.publish()
    first.answered("GET", "/v1/models", 200, 0.001)
    labels = {"method": "GET", "route": "/v1/models", "status": 200}
    text = first.text()
    assert value(text, "ntm_http_requests_total", front=0, **labels) == 2  # its own: as of now
    assert value(text, "ntm_http_requests_total", front=1, **labels) == 5
    assert value(second.text(), "ntm_http_requests_total", front=0, **labels) == 1


def test_merged_families_are_named_once(tmp_path: Path):
    for number in (0, 1, 2):
        FrontMetrics(number, tmp_path).publish()
    text = FrontMetrics(0, tmp_path).text().decode()
    assert text.count("# TYPE ntm_build_info gauge") == 1
    assert text.count("ntm_build_info{") == 3


def test_a_lone_front_writes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    FrontMetrics().publish()
    assert list(tmp_path.iterdir()) == []


def test_no_series_tells_when_it_was_created():
    metrics = FrontMetrics()
    metrics.answered("GET", "/v1/models", 200, 0.001)
    assert b"_created" not in metrics.text()


def test_two_apps_in_one_process_share_no_metric():
    first, second = FrontMetrics(), FrontMetrics()
    first.errors.labels("internal").inc()
    assert value(first.text(), "ntm_errors_total", code="internal", front=0) == 1
    assert b'code="internal"' not in second.text()


def test_the_errors_that_alerts_look_at_are_told_before_there_is_one():
    text = FrontMetrics().text()
    for code in ("store_away", "store_rolled_back", "commit_unknown", "state_damaged"):
        assert value(text, "ntm_errors_total", code=code, front=0) == 0
