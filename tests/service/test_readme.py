"""What can be set, called, counted or met stands in service/README.md, as it is."""

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from service.app import HANDLERS
from service.engine.metrics import EngineMetrics
from service.errors import codes
from service.metrics import FrontMetrics
from service.settings import ENGINE_SOCKET, OTHERS, ZOO, table

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "service" / "README.md").read_text()
ROWS = {tuple(line.strip("| ").split(" | ")[:2]) for line in README.splitlines() if "|" in line}


def series(registry: CollectorRegistry) -> set[str]:
    """The names of a registry's metrics as Prometheus shows them."""
    kinds = {metric.name: metric.type for metric in registry.collect()}
    return {name + ("_total" if kind == "counter" else "") for name, kind in kinds.items()}


def paths_of(handler: Any) -> list[str]:
    return [re.sub(r":\w+}", "}", path) for path in sorted(handler.paths)]


@pytest.mark.parametrize(("variable", "default", "meaning"), table(), ids=lambda text: text[:20])
def test_every_setting_stands_there_with_its_default(variable: str, default: str, meaning: str):
    shown = default.replace(ZOO, "model/zoo")
    assert (f"`{variable}`", f"`{shown}`") in ROWS, f"{variable}: {meaning}"


def test_no_setting_stands_there_that_is_none():
    known = {variable for variable, _, _ in table()} | {ENGINE_SOCKET} | OTHERS
    assert set(re.findall(r"NTM_[A-Z_]*[A-Z]", README)) <= known


@pytest.mark.parametrize("handler", HANDLERS, ids=lambda handler: handler.handler_name)
def test_every_route_stands_there(handler: Any):
    (method,) = handler.http_methods
    for path in paths_of(handler):
        assert (method, f"`{path}`") in ROWS


@pytest.mark.parametrize(("code", "kind"), sorted(codes().items()))
def test_every_error_stands_there_with_its_status(code: str, kind: Any):
    assert (str(kind.status), f"`{code}`") in ROWS


@pytest.mark.parametrize(
    "name", sorted(series(FrontMetrics().registry) | series(EngineMetrics().registry))
)
def test_every_metric_stands_there(name: str):
    assert any(row[0] == f"`{name}`" for row in ROWS)


def test_no_metric_stands_there_that_is_none():
    known = series(FrontMetrics().registry) | series(EngineMetrics().registry)
    assert set(re.findall(r"`(ntm_\w+)`", README)) <= known


def test_front_and_engine_count_nothing_under_one_name():
    assert not series(FrontMetrics().registry) & series(EngineMetrics().registry)


def test_every_file_of_the_service_stands_there():
    for path in (ROOT / "service").glob("*.py"):
        if path.name != "__init__.py":
            assert f"`{path.name}`" in README, path.name
