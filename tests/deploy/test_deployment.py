"""The deployment as an operator has it: under load, with a replica killed, with Redis killed, and
as those see it who watch it.

Where a Docker engine with compose answers, docker-compose.yml itself; otherwise the same files as
processes on the loopback, and what that leaves out is said. DEPLOY_FORM=processes or =containers
decides; with the latter an engine is started where none is.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.settings import ZOO
from tests.bundles import make_bundle
from tests.deploy import containers, panels
from tests.deploy.conftest import Watched, load
from tests.deploy.containers import Containers
from tests.deploy.deployment import Deployment
from tests.deploy.processes import Processes, missing
from tests.service.crash.crowd import Crowd, crowd, eventually
from tests.service.crash.reference import Versions, reference_of
from tests.service.keyed import bearer
from tests.service.serving import until

pytestmark = pytest.mark.deploy

FORM = os.environ.get("DEPLOY_FORM", "")
CLIENTS = 12
READY_S, ALERT_S, PANELS_S, LONG_S = 90, 150, 120, 300
REPLICA_ALERTS = {"NtmServerDown", "NtmReplicaGone"}
MOST_BYTES = 450_000_000
# Few slots and little memory, so that states move about; none of it is compiled for this machine.
SETTINGS = {
    "NTM_SLOTS": "6",
    "NTM_HOST_STATE_BYTES": "40000",
    "NTM_MAX_BATCH": "16",
    "NTM_HISTORY_ROWS": "100",
    "NTM_DEVICE": "cpu",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained copy model as version 1; as version 2 one with other weights, alike in shape."""
    folder = tmp_path_factory.mktemp("models")
    folder.chmod(0o755)
    folder.parent.chmod(0o755)
    shutil.copytree(Path(ZOO) / "copy" / "bundle", folder / "1")
    make_bundle(folder / "2", version="2", seed=2)
    return folder


@pytest.fixture(scope="module")
def versions(models: Path) -> Versions:
    return Versions({name: reference_of(models / name) for name in ("1", "2")})


@pytest.fixture(scope="module")
def deployed(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """In the form that this machine allows."""
    folder = tmp_path_factory.mktemp("deployed")
    with ExitStack() as stack:
        docker = None
        if FORM != "processes":
            start = FORM == "containers" and containers.can_start()
            docker = containers.engine(stack, start)
        if docker is not None:
            stand_ins = not containers.reaches_registry()
            containers.build(docker, stand_ins)
            found: Deployment = Containers(docker, folder, models, SETTINGS, stand_ins, stack)
            left_out = "the published images and Grafana" if stand_ins else ""
        else:
            assert FORM != "containers", "DEPLOY_FORM=containers: no Docker engine with compose"
            if absent := missing():
                pytest.skip(f"no {', '.join(absent)} here")
            found = Processes(folder, models, SETTINGS, stack)
            left_out = "images, containers, networks, limits and Grafana: no Docker engine answers"
        print(f"\ntest-deploy: as {found.form}; NOT TESTED: {left_out or 'nothing'}")
        until(lambda: all(map(_is_ready, _probes(found))), READY_S)
        yield found


@pytest.fixture
def contained(deployed: Deployment) -> Containers:
    """The deployment in containers, where it is one."""
    if not isinstance(deployed, Containers):
        pytest.skip("as processes there is no container to look into")
    return deployed


def _probes(deployed: Deployment) -> tuple[str, ...]:
    """The URLs that answer 200 once what stands behind them is ready."""
    watchers = (f"{url}/-/ready" for url in (deployed.prometheus, deployed.alertmanager))
    return f"{deployed.router}/health/ready", *watchers


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


class Keyed(httpx.AsyncHTTPTransport):
    """Sends a key with every request."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self._key = bearer(key)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers.update(self._key)
        return await super().handle_async_request(request)


def live(
    deployed: Deployment, versions: Versions, tenant: str, *disturbances: Callable[[], Any]
) -> Crowd:
    """A crowd of a tenant of its own, while one thing after the other is done to the deployment;
    whatever was acknowledged must be there in the end, to the last bit, and nothing else."""
    key = _new_key(deployed, tenant)

    async def work() -> Crowd:
        async def disturb() -> None:
            for disturbance in disturbances:
                await more(100)
                await asyncio.to_thread(disturbance)
            await more(100)

        async def more(mutations: int) -> None:
            enough = clients.seen["mutations"] + mutations
            await eventually(lambda: clients.seen["mutations"] >= enough, LONG_S)

        async with crowd(deployed.router, versions, CLIENTS, Keyed(key)) as clients:
            await clients.live(disturb())
            await clients.compare()
            return clients

    found = asyncio.run(work())
    print(f"\n{tenant}: {dict(found.seen)}")
    return found


def test_what_was_acknowledged_outlives_a_replica(deployed: Deployment, versions: Versions):
    live(
        deployed,
        versions,
        "replica-killed",
        lambda: deployed.kill("server-1"),
        lambda: deployed.start("server-1"),
    )
    until(lambda: _replicas(deployed) == 3, READY_S)


def test_what_was_acknowledged_outlives_redis(deployed: Deployment, versions: Versions):
    def for_a_moment() -> None:
        deployed.kill("redis")
        deployed.start("redis")

    def until_it_is_missed() -> None:
        deployed.kill("redis")
        key = bearer(deployed.new_key("impatient"))
        until(lambda: "store_away" in httpx.get(sessions, headers=key, timeout=30).text)
        deployed.start("redis")

    sessions = f"{deployed.router}/v1/sessions"
    seen = live(deployed, versions, "redis-killed", for_a_moment, until_it_is_missed).seen
    assert seen["store_away"] + seen["commit_unknown"], "nobody missed it"


def test_a_replica_that_is_stopped_drains_and_ends_with_0(deployed: Deployment, versions: Versions):
    statuses: list[int] = []
    live(
        deployed,
        versions,
        "replica-stopped",
        lambda: statuses.append(deployed.stop("server-2")),
        lambda: deployed.start("server-2"),
    )
    assert statuses == [0]
    until(lambda: _replicas(deployed) == 3, READY_S)


def test_an_alert_fires_for_a_replica_that_stays_away(deployed: Deployment):
    assert not REPLICA_ALERTS & _alerts(deployed)
    deployed.kill("server-3")
    try:
        until(lambda: REPLICA_ALERTS & _alerts(deployed), ALERT_S)
    finally:
        deployed.start("server-3")
    until(lambda: _replicas(deployed) == 3, READY_S)


def test_every_panel_of_every_dashboard_has_data(deployed: Deployment):
    key = bearer(_new_key(deployed, "panels"))
    with httpx.Client(base_url=deployed.router, headers=key) as client:
        here, elsewhere = _two_replicas(client)
    routed = [_Routed(deployed.router, session) for session in (here, elsewhere)]
    watched: Any = Watched(
        None, routed, key, {}, deployed.prometheus, deployed.alertmanager, []  # pyright: ignore
    )  # fmt: skip

    missing: list[panels.Expression] = panels.expressions()
    assert len(missing) > 20

    def answered() -> bool:
        load(watched)
        missing[:] = panels.unanswered(deployed.prometheus)
        return not missing

    try:
        until(answered, PANELS_S)
    except AssertionError:
        pytest.fail("no data: " + "; ".join(map(str, missing)))


def test_the_image_is_small_and_has_no_torch(contained: Containers):
    found = contained.image()
    print(f"\nthe image cpu: {found['Size'] / 1e6:.0f} MB")
    assert found["Size"] < MOST_BYTES
    assert found["Config"]["User"] == "10001:10001"
    assert found["Config"]["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    torch = contained.inside("server-1", "python -c 'import torch'")
    assert "No module named 'torch'" in torch and torch.endswith("1\n")


def test_a_server_writes_nowhere_but_where_it_may(contained: Containers):
    for path in ("/", "/opt/ntm", "/models", "/run/secrets"):
        refused = contained.inside("server-1", f"touch {path}/file")
        assert "Read-only file system" in refused, refused
    assert contained.inside("server-1", "touch /tmp/file && rm /tmp/file") == "0\n"
    assert "Permission denied" in contained.inside("server-1", "cat /run/secrets/redis.acl")
    assert contained.inside("server-1", "tr '\\0' ' ' </proc/1/cmdline").startswith(
        "/opt/ntm/bin/python /opt/ntm/bin/ntm serve"
    )


def test_those_who_watch_do_not_reach_redis(contained: Containers):
    assert contained.inside("server-1", "getent hosts redis").endswith("0\n")
    reached = contained.inside("prometheus", "wget -q -T 3 -O - http://redis:6379/")
    assert not reached.endswith("0\n") and "PONG" not in reached, reached
    address = contained.inspect("redis")["NetworkSettings"]["Networks"].values()
    assert len(address) == 1


class _Routed:
    """As a server's own address, one of those behind the router: by the session it hashes."""

    def __init__(self, url: str, session: str) -> None:
        self._url, self._session = url, session

    def client(self, headers: dict[str, str]) -> httpx.Client:
        headers = headers | {"x-session-id": self._session}
        return httpx.Client(base_url=self._url, timeout=30, headers=headers)


def _new_key(deployed: Deployment, tenant: str) -> str:
    """Known to every server, each of which reads the file of keys in its own time."""
    key = deployed.new_key(tenant)
    with httpx.Client(base_url=deployed.router, headers=bearer(key)) as client:
        until(lambda: all(answer.is_success for answer in _to_every_replica(client).values()))
    return key


def _to_every_replica(client: httpx.Client) -> dict[str, httpx.Response]:
    """By X-Session-Id, which the router hashes: so many values that they lead to all of them."""
    sessions = [f"session-{number}" for number in range(30)]
    return {name: client.get("/v1/tenant", headers={"x-session-id": name}) for name in sessions}


def _two_replicas(client: httpx.Client) -> tuple[str, str]:
    """Two values of X-Session-Id that lead to different replicas, once the router has all three:
    it looks after them itself, so it may find one that is back later than Prometheus does."""
    fronts: dict[str, str] = {}

    def all_found() -> bool:
        # Each front draws the beginning of the request ids that it gives.
        answers = _to_every_replica(client).items()
        fronts.clear()
        fronts.update((a.headers["x-request-id"].split("-")[0], name) for name, a in answers)
        return len(fronts) == 3

    until(all_found, READY_S)
    here, elsewhere, _ = fronts.values()
    return here, elsewhere


def _replicas(deployed: Deployment) -> int:
    """How many servers Prometheus reaches."""
    found = panels.query(deployed.prometheus, 'count(up{job="ntm"} == 1)')
    return int(found[0]["value"][1]) if found else 0


def _alerts(deployed: Deployment) -> set[str]:
    """The names of those that have come to Alertmanager."""
    answer = httpx.get(f"{deployed.alertmanager}/api/v2/alerts", timeout=10)
    return {alert["labels"]["alertname"] for alert in answer.raise_for_status().json()}
