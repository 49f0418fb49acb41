"""The autoscaler's metric, by the adapter's own query, in a Prometheus that scrapes a server."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.deploy.kubernetes import KUBERNETES, NAMESPACE, of_kind
from tests.ports import free_port
from tests.service.serving import launched, until

POD = "ntm-server-0"
(RULE,) = yaml.safe_load((KUBERNETES / "adapter-rules.yaml").read_text())["rules"]["custom"]


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[httpx.Client]:
    """One that scrapes the target each second, with the labels that a ServiceMonitor puts on."""
    (monitor,) = of_kind("cpu", "ServiceMonitor")
    scrape = {
        "job_name": "ntm-replicas",
        "scrape_interval": "1s",
        "metrics_path": monitor["spec"]["endpoints"][0]["path"],
        "static_configs": [{"targets": [target], "labels": {"namespace": NAMESPACE, "pod": POD}}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [scrape]}))
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}"]
    command += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}"]
    with open(folder / "prometheus.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        with httpx.Client(base_url=f"http://{address}", timeout=10) as client:
            yield client
    finally:
        process.terminate()
        process.wait()


def query(client: httpx.Client, asked: str) -> list[dict[str, Any]]:
    """The series that answer; none while Prometheus starts."""
    try:
        answer = client.get("/api/v1/query", params={"query": asked})
    except httpx.TransportError:
        return []
    return answer.json()["data"]["result"] if answer.status_code == 200 else []


def asked_for(metric: str) -> str:
    """As the adapter fills its template in for one pod."""
    matchers = f'namespace="{NAMESPACE}",pod=~"{POD}"'
    filled = RULE["metricsQuery"].replace("<<.Series>>", metric)
    return filled.replace("<<.LabelMatchers>>", matchers).replace("<<.GroupBy>>", "pod")


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus to ask")
def test_the_adapters_query_finds_one_number_a_pod(tmp_path: Path):
    (scaler,) = of_kind("cpu", "HorizontalPodAutoscaler")
    metric = scaler["spec"]["metrics"][0]["pods"]["metric"]["name"]
    with launched(tmp_path, NTM_PORT="0") as server:
        server.wait_until_listening()
        with prometheus(tmp_path, server.url.removeprefix("http://")) as client:
            assert until(lambda: query(client, RULE["seriesQuery"]), 60)
            found = until(lambda: query(client, asked_for(metric)))
            with server.client() as asking:
                models = len(asking.get("/v1/models").json()["models"])
            assert len(query(client, RULE["seriesQuery"])) == models > 1
    assert [series["metric"] for series in found] == [{"pod": POD}]
    assert float(found[0]["value"][1]) == 0.0


def test_the_rule_offers_what_the_autoscaler_asks_for():
    assert re.fullmatch(RULE["name"]["matches"], RULE["name"]["as"])
    assert RULE["seriesQuery"].startswith(RULE["name"]["as"] + "{")
    assert set(RULE["resources"]["overrides"]) == {"namespace", "pod"}
