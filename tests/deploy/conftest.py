"""Two replicas on one Redis with keys, under load, watched by Prometheus and Alertmanager."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from service.settings import ZOO
from tests.deploy import watched
from tests.service.keyed import bearer, new_key
from tests.service.serving import ROW, Server, served
from tests.service.store.redis_server import RedisServer, running


class Watched(NamedTuple):
    """What is watched, and by whom. told: the alerts that came to the webhook so far."""

    redis: RedisServer
    servers: list[Server]
    keys: dict[str, str]  # a client's, as headers
    admin: dict[str, str]
    prometheus: str
    alertmanager: str
    told: list[dict[str, Any]]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Generator[Watched]:
    """All of it. Few slots and little memory, so that states move about."""
    folder = tmp_path_factory.mktemp("deployment")
    keys = folder / "keys.json"
    client = bearer(new_key(keys, "acme", "read", "step"))
    scraper = new_key(keys, "ops", "admin")
    settings = {"NTM_KEYS": str(keys), "NTM_SLOTS": "4", "NTM_HOST_STATE_BYTES": "40000"}
    with ExitStack() as stack:
        redis = stack.enter_context(running(folder / "redis", maxmemory="256mb"))
        servers = [
            stack.enter_context(_replica(folder / name, NTM_STORE=redis.url, **settings))
            for name in ("one", "two")
        ]
        url, told = stack.enter_context(watched.webhook())
        alertmanager = stack.enter_context(watched.alertmanager(folder, url))
        targets = [server.url.removeprefix("http://") for server in servers]
        prometheus = stack.enter_context(
            watched.prometheus(folder, targets, alertmanager, key=scraper)
        )
        yield Watched(redis, servers, client, bearer(scraper), prometheus, alertmanager, told)


def _replica(folder: Path, **settings: str) -> Any:
    folder.mkdir()
    return served(folder, Path(ZOO) / "copy" / "bundle", **settings)


def load(deployment: Watched) -> None:
    """A little of all that a panel shows."""
    one, two = (server.client(headers=deployment.keys) for server in deployment.servers)
    with one, two:
        sessions = [_created(one) for _ in range(12)]
        for path in sessions * 2:  # more than there are slots: evicted, and brought back
            _step(one, path, 3)
        for client in (two, one) * 3:  # what the other holds is out of date: a conflict each
            _step(client, sessions[0], 1)
        one.post("/v1/models/copy/predict", json={"inputs": [ROW] * 20}).raise_for_status()
        _created(one, idle_ttl_s=1)  # expires with the next sweep but one
        one.delete(sessions[1]).raise_for_status()
        assert one.get("/v1/sessions/nobody").status_code == 404
        assert one.post(f"{sessions[2]}/steps", json={"inputs": [[0]]}).status_code == 400
        assert _too_late(one).status_code == 504


def _created(client: httpx.Client, **asked: float) -> str:
    answer = client.post("/v1/models/copy/sessions", json=asked)
    assert answer.status_code == 201, answer.text
    return f"/v1/sessions/{answer.json()['id']}"


def _step(client: httpx.Client, path: str, rows: int) -> None:
    answer = client.post(f"{path}/steps", json={"inputs": [ROW] * rows})
    assert answer.status_code == 200, answer.text


def _too_late(client: httpx.Client) -> httpx.Response:
    """A request whose deadline is over when it comes to its turn."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 200, len(ROW)], "data": ROW * 200}
    body = {"inputs": [tensor], "parameters": {"timeout": 1}}
    return client.post("/v2/models/copy/infer", json=body)
