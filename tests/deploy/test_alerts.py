"""Something breaks: Prometheus sees it, and a webhook is told of the cause and of no symptom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from tests.deploy import panels
from tests.deploy.conftest import Watched, load
from tests.deploy.test_prometheus import rules
from tests.deploy.watched import alertmanager, webhook
from tests.service.serving import until

FIRES_S = 120  # they wait 20 and 30 s themselves


def told(deployment: Watched, name: str) -> list[dict[str, Any]]:
    """What the webhook was told of an alert."""
    return [alert for alert in deployment.told if alert["labels"]["alertname"] == name]


def held_back(deployment: Watched, name: str) -> bool:
    """Does Alertmanager have the alert, and keep it to itself because of another?"""
    found = httpx.get(f"http://{deployment.alertmanager}/api/v2/alerts", timeout=10).json()
    states = [a["status"] for a in found if a["labels"]["alertname"] == name]
    return bool(states) and all(state["inhibitedBy"] for state in states)


def test_a_killed_server_and_a_store_that_hangs_are_told_and_their_symptoms_are_not(
    deployment: Watched,
):
    one, two = (server.url.removeprefix("http://") for server in deployment.servers)
    load(deployment)
    until(lambda: panels.query(deployment.prometheus, "ntm:replicas:up == 2"))
    assert deployment.told == []

    deployment.servers[1].process.kill()
    deployment.redis.pause()
    try:
        until(lambda: told(deployment, "NtmServerDown"), FIRES_S)
        until(lambda: told(deployment, "NtmStoreAway"), FIRES_S)
        until(lambda: held_back(deployment, "NtmReplicaGone"), FIRES_S)
        # The one that is left tells of itself all the same.
        assert panels.query(deployment.prometheus, f'ntm_store_up{{instance="{one}"}} == 0')
        assert panels.query(deployment.prometheus, f'up{{job="ntm", instance="{one}"}} == 1')
        assert panels.query(deployment.prometheus, f'ntm_model_rows_total{{instance="{one}"}} > 0')
    finally:
        deployment.redis.resume()

    assert {alert["labels"]["instance"] for alert in told(deployment, "NtmServerDown")} == {two}
    assert {alert["labels"]["instance"] for alert in told(deployment, "NtmStoreAway")} == {one}
    assert not told(deployment, "NtmReplicaGone")
    (rule,) = [rule for rule in rules("alert") if rule["alert"] == "NtmServerDown"]
    annotations = told(deployment, "NtmServerDown")[0]["annotations"]
    assert annotations["summary"] == f"{two} does not answer Prometheus"
    assert annotations["runbook"] == rule["annotations"]["runbook"]
    until(lambda: panels.query(deployment.prometheus, f'ntm_store_up{{instance="{one}"}} == 1'))


# Of each pair: does the first, firing, keep the second to itself? Their labels beside the rule's.
PAIRS = [
    ("NtmServerDown", {"instance": "a"}, "NtmStoreSlow", {"instance": "a"}, True),
    ("NtmServerDown", {"instance": "a"}, "NtmStoreSlow", {"instance": "b"}, False),
    ("NtmServerDown", {"instance": "a"}, "NtmErrorRatio", {}, False),  # the others should carry on
    ("NtmEngineDown", {"instance": "a"}, "NtmQueueSaturated", {"instance": "a"}, True),
    ("NtmNoServer", {}, "NtmErrorRatio", {}, True),
    ("NtmStoreAway", {"instance": "a"}, "NtmErrorRatio", {}, True),
    ("NtmStoreAway", {"instance": "a"}, "NtmStoreFull", {"instance": "a"}, False),  # why it is so
    ("NtmStoreFull", {"instance": "a"}, "NtmStoreFilling", {"instance": "a"}, True),
]


def test_a_cause_holds_back_its_symptoms_and_nothing_else(tmp_path: Path):
    """Each pair is a job of its own, so that it does not concern the others."""
    labels = {rule["alert"]: rule["labels"] for rule in rules("alert")}
    causes: list[dict[str, str]] = []
    others: list[dict[str, str]] = []
    for at, (cause, of_cause, other, of_other, _) in enumerate(PAIRS):
        job = {"job": f"pair-{at}"}
        causes.append(labels[cause] | of_cause | {"alertname": cause} | job)
        others.append(labels[other] | of_other | {"alertname": other} | job)

    with webhook() as (url, heard), alertmanager(tmp_path, url) as address:

        def fire(alerts: list[dict[str, str]]) -> None:
            body = [{"labels": each} for each in alerts]
            httpx.post(f"http://{address}/api/v2/alerts", json=body).raise_for_status()

        def came() -> list[dict[str, str]]:
            return [alert["labels"] for alert in list(heard)]

        fire(causes)
        until(lambda: all(each in came() for each in causes), 60)
        fire(others)
        free = [each for each, pair in zip(others, PAIRS, strict=True) if not pair[-1]]
        held = [each for each in others if each not in free]
        until(lambda: all(each in came() for each in free), 60)
        found = httpx.get(f"http://{address}/api/v2/alerts", timeout=10).json()
    assert not [each for each in held if each in came()]
    quiet = [alert["labels"] for alert in found if alert["status"]["inhibitedBy"]]
    assert len(quiet) == len(held) and all(each in quiet for each in held)
