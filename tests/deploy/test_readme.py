"""deploy/README.md tells each variable of the compose file, and the sizing as it is worked out."""

from __future__ import annotations

import re

from tests.bench import sizing
from tests.deploy.deployment import ROOT

README = (ROOT / "deploy" / "README.md").read_text()


def test_every_variable_of_the_compose_file_stands_there():
    compose = (ROOT / "docker-compose.yml").read_text()
    names = set(re.findall(r"\$\{([A-Z_]+)", compose))
    untold = {name for name in names if not name.startswith("NTM_") and f"`{name}`" not in README}
    assert not untold


def test_the_sizing_table_is_what_the_costs_come_to():
    assert "\n".join(sizing.lines()) in README


def test_the_costs_are_those_of_the_measured_table():
    (line,) = re.findall(r"^\| 1 \| (.+ of \d+) \|$", README, re.MULTILINE)
    cells = [cell.strip() for cell in line.split("|")]
    costs = (sizing.FRONT_S, sizing.ENGINE_S, sizing.REDIS_S, sizing.HAPROXY_S)
    assert [round(cost * 1e6) for cost in costs] == [int(cell) for cell in cells[3:7]]
    told = dict(
        re.findall(r"^\| ([A-Za-z0-9, -]+) \| ([0-9,]+)(?: \| [0-9,]+)? \|$", README, re.MULTILINE)
    )
    size = {name: int(text.replace(",", "")) for name, text in told.items()}
    to_redis = size["network, servers to Redis"] + size["network, Redis to servers"]
    assert to_redis == sizing.TO_REDIS_BYTES
    assert size["append-only file"] == sizing.LOG_BYTES
    assert size["HTTP, request of a row"] + size["HTTP, its answer"] == sizing.HTTP_BYTES
    assert size["1,000"] == sizing.SESSION_BYTES["1,000 rows"]


def test_a_larger_load_takes_no_less():
    plans = [sizing.plan(sessions, steps_s, kept) for sessions, steps_s, kept in sizing.LOADS]
    for smaller, larger in zip(plans, plans[1:], strict=False):
        assert smaller.replicas <= larger.replicas and smaller.redis <= larger.redis
    assert sizing.LOADS[-1][0] == 10_000_000
