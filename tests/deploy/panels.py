"""The dashboards' panels, and their queries as Grafana would send them to Prometheus."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "grafana" / "dashboards"
GPU = "ntm-gpu"  # the dashboard that is empty where there is none
VARIABLE = re.compile(r"label_values\((\w+), (\w+)\)")


class Expression(NamedTuple):
    """One query of one panel. `dashboard` is its uid."""

    dashboard: str
    panel: str
    expr: str

    def __str__(self) -> str:
        return f"{self.dashboard} / {self.panel}: {self.expr}"


def dashboards() -> list[dict[str, Any]]:
    """All that are committed."""
    return [json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))]


def panels_of(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Its panels, those in collapsed rows too; no rows."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", [])
        else:
            yield panel


def expressions() -> list[Expression]:
    """Every query of every panel."""
    return [
        Expression(dashboard["uid"], panel["title"], target["expr"])
        for dashboard in dashboards()
        for panel in panels_of(dashboard)
        for target in panel["targets"]
    ]


def variables() -> set[tuple[str, str]]:
    """The metrics and labels whose values the dashboards' variables offer."""
    found: set[tuple[str, str]] = set()
    for dashboard in dashboards():
        for variable in dashboard["templating"]["list"]:
            matched = VARIABLE.fullmatch(variable["query"])
            assert matched, f"{variable['query']} is no label_values(metric, label)"
            found.add((matched[1], matched[2]))
    return found


def substituted(expr: str, rate_interval: str = "1m") -> str:
    """A query with "All" chosen in every variable."""
    named = re.sub(r"\$__rate_interval\b", rate_interval, expr)
    return re.sub(r"\$(instance|model)\b", ".*", named)


def query(prometheus: str, expr: str) -> list[Any]:
    """The samples that an expression has now. prometheus: its URL. Fails where it is no query."""
    answer = httpx.post(f"{prometheus}/api/v1/query", data={"query": expr}, timeout=20)
    assert answer.status_code == 200, f"{expr}: {answer.text}"
    return answer.json()["data"]["result"]


def offered(prometheus: str, metric: str, label: str) -> list[str]:
    """The values that a variable offers."""
    url = f"{prometheus}/api/v1/label/{label}/values"
    return httpx.get(url, params={"match[]": metric}, timeout=20).json()["data"]


def unanswered(prometheus: str, rate_interval: str = "1m", gpu: bool = False) -> list[Expression]:
    """The queries that have no data, or only such as is no number. gpu: ask for the GPU's too;
    without one these are sent all the same, and need have none."""
    missing: list[Expression] = []
    for expression in expressions():
        samples = query(prometheus, substituted(expression.expr, rate_interval))
        numbers = [sample for sample in samples if sample["value"][1] != "NaN"]
        if not numbers and (gpu or expression.dashboard != GPU):
            missing.append(expression)
    return missing
