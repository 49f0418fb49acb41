"""The rules are sound, each alert was seen to fire and not to, and they ask for what there is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from service.engine.metrics import EngineMetrics
from service.metrics import FrontMetrics
from tests.deploy.panels import expressions, variables
from tests.deploy.watched import PROMETHEUS, alertmanager_config, prometheus_config, tool

CASES = PROMETHEUS / "tests"
RUNBOOK = PROMETHEUS.parent / "runbook.md"
NAME = re.compile(r"\b(?:ntm|nv|up)(?:[_:]\w+)*\b")
PROMETHEUS_OWN = {"up"}


def rules(kind: str) -> list[dict[str, Any]]:
    """The rules of a kind, "alert" or "record"."""
    return [
        rule
        for path in sorted((PROMETHEUS / "rules").glob("*.yml"))
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if kind in rule
    ]


def cases() -> list[dict[str, Any]]:
    return yaml.safe_load((CASES / "alerts.yml").read_text())["tests"]


ALERTS = [rule["alert"] for rule in rules("alert")]


def promtool(*arguments: str | Path, stdin: bytes | None = None) -> tuple[int, str]:
    """Its exit status and what it printed."""
    command = [tool("promtool"), *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60)
    return done.returncode, (done.stdout + done.stderr).decode()


def told() -> set[str]:
    """The names of the series that a server can tell."""
    names: set[str] = set()
    for registry in (FrontMetrics().registry, EngineMetrics().registry):
        names |= series(registry)
    return names


def series(registry: CollectorRegistry) -> set[str]:
    ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    return {f.name + end for f in registry.collect() for end in ends[f.type]}


def asked(expr: str) -> set[str]:
    """The names of the series that an expression asks for."""
    bare = re.sub(r'"[^"]*"|\{\{.*?\}\}', "", expr)
    grouped = re.sub(r"\b(by|on|without|ignoring|group_left)\s*\([^)]*\)", "", bare)
    return set(NAME.findall(grouped)) - PROMETHEUS_OWN


def test_the_rules_are_sound():
    status, printed = promtool("check", "rules", *sorted((PROMETHEUS / "rules").glob("*.yml")))
    assert status == 0, printed


def test_the_configuration_is_sound(tmp_path: Path):
    status, printed = promtool("check", "config", "--syntax-only", PROMETHEUS / "prometheus.yml")
    assert status == 0, printed
    config = prometheus_config(tmp_path, ["127.0.0.1:1"], "127.0.0.1:2")
    status, printed = promtool("check", "config", config)  # with the files that it names
    assert status == 0 and "3 rule files found" in printed, printed


def test_the_configuration_of_alertmanager_is_sound(tmp_path: Path):
    config = alertmanager_config(tmp_path, "http://127.0.0.1:1/")
    done = subprocess.run(
        [tool("amtool"), "check-config", str(config)], capture_output=True, text=True
    )
    assert done.returncode == 0 and "inhibit rules" in done.stdout, done


@pytest.mark.parametrize("name", ["alerts.yml", "triton.yml"])
def test_the_rules_do_what_their_cases_say(name: str):
    status, printed = promtool("test", "rules", CASES / name)
    assert status == 0, printed


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(alert: str):
    asks = f'ALERTS{{alertname="{alert}", alertstate="firing"}}'
    seen = {
        bool(check["exp_samples"])
        for case in cases()
        for check in case["promql_expr_test"]
        if check["expr"] == asks and case["name"].startswith(f"{alert} ")
    }
    assert seen == {True, False}


@pytest.mark.parametrize(("always", "expr"), [(True, "vector(1)"), (False, "vector(1) > 1")])
def test_an_alert_that_always_or_never_fires_fails_its_cases(
    always: bool, expr: str, tmp_path: Path
):
    """The cases can fail: each alert's is named when its expression is another."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "tests").mkdir()
    for path in (PROMETHEUS / "rules").glob("*.yml"):
        rewritten = yaml.safe_load(path.read_text())
        for group in rewritten["groups"]:
            for rule in group["rules"]:
                if "alert" in rule:
                    rule["expr"] = expr
                    rule.pop("for", None)
            group["rules"] = [rule for rule in group["rules"] if "alert" in rule]
        (tmp_path / "rules" / path.name).write_text(yaml.safe_dump(rewritten))
    fewer = (CASES / "alerts.yml").read_text().replace("interval: 10s\n\n", "interval: 50s\n\n")
    (tmp_path / "tests" / "alerts.yml").write_text(fewer)
    status, printed = promtool("test", "rules", tmp_path / "tests" / "alerts.yml")
    assert status != 0
    for alert in ALERTS:
        failed = re.findall(rf'alertname=\\"{alert}\\".*\n\s*exp: ?(.*)', printed)
        assert any((not expected.strip() or "nil" in expected) == always for expected in failed), (
            alert
        )


@pytest.mark.parametrize("rule", rules("alert"), ids=ALERTS)
def test_every_alert_says_what_it_saw_and_what_to_do(rule: dict[str, Any]):
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["labels"]["kind"] in ("cause", "symptom")
    assert set(rule["annotations"]) == {"summary", "description", "runbook", "dashboard"}
    assert all(20 < len(rule["annotations"][name]) for name in ("summary", "description"))
    assert 40 < len(rule["annotations"]["runbook"])
    assert f"\n## {rule['alert']}\n" in RUNBOOK.read_text()


def test_the_runbook_has_no_alert_that_is_none():
    assert re.findall(r"^## (Ntm\w+)$", RUNBOOK.read_text(), re.M) == ALERTS


def test_no_rule_and_no_panel_asks_for_what_nobody_tells():
    recorded = {rule["record"] for rule in rules("record")}
    asking = [rule["expr"] for rule in (*rules("record"), *rules("alert"))]
    asking += [expression.expr for expression in expressions()]
    wanted = set().union(*map(asked, asking)) | {metric for metric, _ in variables()}
    assert len(wanted) > 50
    assert wanted - told() - recorded == set()


def test_a_misspelt_metric_would_be_found():
    expr = 'sum by (ntm_label) (rate(ntm_rows_totals{route="ntm_x"}[5m])) / ntm:rows:rate and up'
    assert asked(expr) == {"ntm_rows_totals", "ntm:rows:rate"}
    assert "ntm_rows_total" in told() and "ntm_rows_totals" not in told()
