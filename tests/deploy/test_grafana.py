"""The dashboards are whole, and show something: every panel's query has data of a loaded server."""

from __future__ import annotations

import json
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.build import BOARDS, FOLDER, text
from tests.deploy import panels
from tests.deploy.conftest import Watched, load
from tests.deploy.test_prometheus import rules
from tests.deploy.watched import prometheus, tool
from tests.service.serving import until

GRAFANA = FOLDER.parent
COLUMNS = 24
UNITS = {"short", "reqps", "ops", "percentunit", "s", "bytes", "watt", "bool_yes_no"}
RATE_INTERVAL = "15s"

DASHBOARDS = {dashboard["uid"]: dashboard for dashboard in panels.dashboards()}
PANELS = [
    pytest.param(panel, id=f"{uid}: {panel['title']}")
    for uid, dashboard in DASHBOARDS.items()
    for panel in panels.panels_of(dashboard)
]


@pytest.mark.parametrize("make", BOARDS, ids=lambda make: make.__name__)
def test_the_committed_json_is_what_the_code_says(make: Any):
    path = FOLDER / f"{make.__name__}.json"
    assert path.read_text() == text(make()), "write it anew: python -m deploy.grafana.build"


def test_there_is_no_dashboard_beside_them():
    assert {path.stem for path in FOLDER.iterdir()} == {make.__name__ for make in BOARDS}


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows(panel: dict[str, Any]):
    assert panel["title"] and panel["type"] in ("timeseries", "stat", "heatmap")
    assert len(panel["description"]) > 20 and panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}
    references = [target["refId"] for target in panel["targets"]]
    assert references and len(set(references)) == len(references)
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"] and target["legendFormat"]
        assert "\n" not in target["expr"]
    if panel["type"] == "stat":
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] is None


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_panels_lie_on_the_grid_and_not_on_each_other(uid: str):
    every = DASHBOARDS[uid]["panels"]
    places = [panel["gridPos"] for panel in every]
    for at in places:
        assert at["x"] >= 0 and at["y"] >= 0 and at["w"] > 0 and at["h"] > 0
        assert at["x"] + at["w"] <= COLUMNS
    for a, b in combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        below = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or below, (a, b)
    assert len({panel["id"] for panel in every}) == len(every)
    lines: dict[int, int] = {}
    for at in places:
        lines[at["y"]] = lines.get(at["y"], 0) + at["w"]
    assert set(lines.values()) == {COLUMNS}, "a line with a gap"


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_dashboards_lead_to_each_other_and_to_the_alerts(uid: str):
    dashboard = DASHBOARDS[uid]
    titles = {link["title"] for link in dashboard["links"]}
    assert titles == {"Dashboards", "Alerts"} and dashboard["tags"] == ["ntm"]
    (marks,) = dashboard["annotations"]["list"]
    assert marks["enable"] and "ALERTS" in marks["expr"]
    names = [variable["name"] for variable in dashboard["templating"]["list"]]
    used = json.dumps(dashboard["panels"])
    assert names and all(f"${name}" in used for name in names)


def test_every_alert_names_a_dashboard_that_there_is():
    for rule in rules("alert"):
        assert rule["annotations"]["dashboard"].removeprefix("/d/") in DASHBOARDS, rule["alert"]


def test_what_is_provisioned_is_what_panels_name():
    (source,) = [
        source
        for source in provisioned("datasources/prometheus.yml")["datasources"]
        if source["type"] == "prometheus"
    ]
    assert source["uid"] == "prometheus" and source["isDefault"]
    scraped = yaml.safe_load((GRAFANA.parent / "prometheus" / "prometheus.yml").read_text())
    assert source["jsonData"]["timeInterval"] == scraped["global"]["scrape_interval"]
    (provider,) = provisioned("dashboards/ntm.yml")["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"


def provisioned(name: str) -> dict[str, Any]:
    found = yaml.safe_load((GRAFANA / "provisioning" / name).read_text())
    assert found["apiVersion"] == 1
    return found


def test_every_panel_has_data_of_a_loaded_server(deployment: Watched):
    missing: list[panels.Expression] = []

    def answered() -> bool:
        nonlocal missing
        load(deployment)
        missing = panels.unanswered(deployment.prometheus, RATE_INTERVAL)
        return not missing

    try:
        until(answered, within_s=90)
    except AssertionError:
        pytest.fail("no data: " + "; ".join(map(str, missing)))
    asked = panels.expressions()
    without = [expression for expression in asked if expression.dashboard == panels.GPU]
    assert len(asked) - len(without) > 45
    print(f"{len(asked)} queries, {len(without)} of GPU panels, which have no data without a GPU")


def test_a_panel_without_data_would_be_found(deployment: Watched, monkeypatch: pytest.MonkeyPatch):
    bad = panels.Expression("ntm-service", "misspelt", "sum(rate(ntm_rowz_total[1m]))")
    broken = panels.Expression("ntm-service", "broken", "sum by (")
    monkeypatch.setattr(panels, "expressions", lambda: [bad])
    assert panels.unanswered(deployment.prometheus) == [bad]
    monkeypatch.setattr(panels, "expressions", lambda: [broken])
    with pytest.raises(AssertionError, match="parse error"):
        panels.unanswered(deployment.prometheus)


def test_the_variables_offer_what_there_is(deployment: Watched):
    here = sorted(server.url.removeprefix("http://") for server in deployment.servers)
    offered = {
        label: panels.offered(deployment.prometheus, metric, label)
        for metric, label in panels.variables()
    }
    assert offered == {"instance": here, "model": ["copy"]}


def test_the_load_was_what_the_panels_say(deployment: Watched):
    """Not only some number: what was done is what is shown."""

    def now(expr: str) -> float:
        samples = panels.query(deployment.prometheus, expr)
        return float(samples[0]["value"][1]) if samples else 0.0

    load(deployment)
    for expr in (
        "sum(ntm_commit_conflicts_total)",
        'sum(ntm_evictions_total{reason="device_full"})',
        'sum(ntm_evictions_total{reason="host_full"})',
        'sum(ntm_restores_total{source="host"})',
        'sum(ntm_restores_total{source="store"})',
        'sum(ntm_expiries_total{reason="expired"})',
        'sum(ntm_expiries_total{reason="deleted"})',
        'sum(ntm_errors_total{code="deadline_exceeded"})',
    ):
        until(lambda expr=expr: now(expr) > 0)
    until(lambda: now("sum(ntm:live_sessions)") == now("max(ntm_live_sessions)") > 10)


def test_tritons_names_tell_the_same(deployment: Watched):
    pair = 'max(nv_inference_count{model="copy"}) > 0 and max(nv_inference_exec_count) > 0'
    until(lambda: panels.query(deployment.prometheus, pair))
    for record in rules("record"):
        name = record["record"]
        if name.startswith("nv_inference"):
            (one, two) = panels.query(deployment.prometheus, name)
            assert {one["metric"]["version"], two["metric"]["version"]} == {"1"}, name


def test_what_a_loaded_server_tells_is_sound(deployment: Watched):
    with deployment.servers[0].client(headers=deployment.admin) as client:
        told = client.get("/metrics").content
    done = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=told, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_without_its_key_prometheus_is_not_let_in(deployment: Watched, tmp_path: Path):
    target = deployment.servers[0].url.removeprefix("http://")
    with prometheus(tmp_path, [target], key="none") as url:
        until(lambda: panels.query(url, 'up{job="ntm"} == 0'))
    assert panels.query(deployment.prometheus, 'min(up{job="ntm"}) == 1')
