"""The router's haproxy.cfg, in HAProxy, before three servers that it finds by name.

Each server has an address of the loopback of its own and the same port. HAProxy before 3.0 does not
know `hash-key addr`: there it is left out, and that two routers hash alike is not tried.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.deploy.kubernetes import one
from tests.deploy.names import Names, names
from tests.ports import free_port
from tests.service.serving import Server, environ, launched, until
from tests.service.store.redis_server import RedisServer, running

PODS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
ROW = [0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0]
SESSIONS, STEPS = 9, 4

pytestmark = pytest.mark.skipif(
    shutil.which("haproxy") is None, reason="no haproxy, so the router is not run"
)


def version() -> tuple[int, int]:
    """Of the HAProxy that is there."""
    said = subprocess.run(["haproxy", "-v"], capture_output=True, text=True, timeout=20).stdout
    found = re.search(r"version (\d+)\.(\d+)", said)
    assert found, said
    return int(found[1]), int(found[2])


def config(name_server: int) -> str:
    """The ConfigMap's, that asks a name server of the test's."""
    told = one("cpu", "ConfigMap", "ntm-router")["data"]["haproxy.cfg"]
    assert told.count("parse-resolv-conf") == told.count(" hash-key addr") == 1
    if version() < (3, 0):
        told = told.replace(" hash-key addr", "")
    return told.replace("parse-resolv-conf", f"nameserver test 127.0.0.1:{name_server}")


class Cluster:
    """Three servers on one Redis, and what a router needs to find them."""

    def __init__(self, stack: ExitStack, folder: Path, redis: RedisServer) -> None:
        self._stack, self._folder, self._port = stack, folder, free_port()
        self.names: Names = stack.enter_context(names())
        self.servers = {host: self._server(host, redis.url) for host in PODS}
        for server in self.servers.values():
            server.wait_until_listening()

    def router(self, names: Names, first: str = PODS[0]) -> httpx.Client:
        """A client of a new router, which has found one of the servers before the others."""
        port, path = free_port(), self._folder / f"haproxy-{names.port}.cfg"
        path.write_text(config(names.port))
        where = {"NTM_LISTEN": f"127.0.0.1:{port}", "NTM_REPLICAS": f"replicas:{self._port}"}
        process = subprocess.Popen(["haproxy", "-db", "-f", str(path)], env=environ(**where))
        self._stack.callback(process.wait)
        self._stack.callback(process.terminate)
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)
        self._stack.callback(client.close)
        names.addresses = [first]
        until(lambda: _answers(client))
        names.addresses = list(PODS)
        until(lambda: self._all_answer(client))
        return client

    def stepped(self) -> dict[str, float]:
        """How many steps each server has answered."""
        return self._counted("/v1/sessions/{session_id}/steps")

    def home(self, client: httpx.Client, session: str) -> str:
        """The only server that answers STEPS steps of a session."""
        before = self.stepped()
        for _ in range(STEPS):
            answer = client.post(f"/v1/sessions/{session}/steps", json={"inputs": [ROW]})
            assert answer.status_code == 200, answer.text
        after = self.stepped()
        rose = {host: after[host] - before[host] for host in after}
        (found,) = [host for host, count in rose.items() if count]
        assert rose[found] == STEPS
        return found

    def _counted(self, route: str) -> dict[str, float]:
        asked = re.compile(
            rf'^ntm_http_requests_total{{.*route="{re.escape(route)}".*}} (\S+)$', re.MULTILINE
        )
        found: dict[str, float] = {}
        for host, server in self.servers.items():
            if server.process.poll() is None:
                with server.client() as client:
                    counts = asked.findall(client.get("/metrics").text)
                found[host] = sum(map(float, counts))
        return found

    def _all_answer(self, client: httpx.Client) -> bool:
        """Without a session requests go round, so as many in a row reach every server."""
        before = self._counted("/v1/models")
        for _ in range(2 * len(PODS)):
            client.get("/v1/models")
        return all(count > before[host] for host, count in self._counted("/v1/models").items())

    def _server(self, host: str, store: str) -> Server:
        folder = self._folder / host
        folder.mkdir()
        settings = {"NTM_HOST": host, "NTM_PORT": str(self._port), "NTM_STORE": store}
        return self._stack.enter_context(launched(folder, **settings))


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/router/ready").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with ExitStack() as stack:
        redis = stack.enter_context(running(folder / "redis"))
        yield Cluster(stack, folder, redis)


def create(client: httpx.Client) -> str:
    answer = client.post("/v1/models/copy/sessions", json={})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def test_the_header_says_which_session_to_hash_where_the_path_does_not(cluster: Cluster):
    client = cluster.router(cluster.names)
    session = create(client)
    first = cluster.home(client, session)
    others: set[str] = set()
    for at in range(SESSIONS):
        client.headers["X-Session-Id"] = f"sequence-{at}"
        others.add(cluster.home(client, session))
    assert len(others | {first}) > 1


@pytest.mark.skipif(
    shutil.which("haproxy") is not None and version() < (3, 0),
    reason="this haproxy does not know hash-key, so two routers are not compared",
)
def test_two_routers_that_found_the_pods_in_another_order_hash_alike(cluster: Cluster):
    first = cluster.router(cluster.names)
    with names() as other_names:
        second = cluster.router(other_names, PODS[-1])
        for session in [create(first) for _ in range(SESSIONS)]:
            assert cluster.home(first, session) == cluster.home(second, session)


def test_a_router_without_a_pod_is_not_ready(tmp_path: Path):
    with ExitStack() as stack:
        found = stack.enter_context(names())
        path, port = tmp_path / "haproxy.cfg", free_port()
        path.write_text(config(found.port))
        where = {"NTM_LISTEN": f"127.0.0.1:{port}", "NTM_REPLICAS": "replicas:8000"}
        process = subprocess.Popen(["haproxy", "-db", "-f", str(path)], env=environ(**where))
        stack.callback(process.wait)
        stack.callback(process.terminate)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:

            def status() -> int:
                try:
                    return client.get("/router/ready").status_code
                except httpx.TransportError:
                    return 0

            assert until(status) == 503


def test_a_session_stays_at_its_pod_and_only_a_lost_pods_sessions_move(cluster: Cluster):
    """The last test: a server less is there after it."""
    client = cluster.router(cluster.names)
    sessions = [create(client) for _ in range(SESSIONS)]
    homes = {session: cluster.home(client, session) for session in sessions}
    assert len(set(homes.values())) > 1
    lost = homes[sessions[0]]
    cluster.names.addresses.remove(lost)
    cluster.servers[lost].stop()
    for session in sessions:
        home = cluster.home(client, session)
        assert home != lost and (home == homes[session] or homes[session] == lost)
        assert client.get(f"/v1/sessions/{session}").json()["step"] == 2 * STEPS
