"""Two replicas under Ray Serve on one Redis: who answers, and what is left when one is killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from service.client import Client
from tests.deploy.ray_serve import DEPLOYED, OnRay, on_ray, processes, python_of_ray
from tests.service.serving import until
from tests.service.store.redis_server import RedisServer

SESSIONS, WIDTH = 12, 9
RECOVERY_S = 90.0

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def serving(redis: RedisServer) -> Iterator[OnRay]:
    folder = Path(tempfile.mkdtemp(prefix="ntm-ray-", dir="/tmp"))
    try:
        with on_ray(folder, NTM_STORE=redis.url) as found:
            yield found
        until(lambda: not engines(redis) and not replicas(redis), 10)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def replicas(redis: RedisServer) -> list[int]:
    """The process ids of the replicas."""
    return processes(lambda line: line.startswith("ray::ServeReplica"), f"NTM_STORE={redis.url}")


def engines(redis: RedisServer) -> list[int]:
    """The process ids of their engines."""
    return processes(lambda line: "service.engine.process" in line, f"NTM_STORE={redis.url}")


def row(at: int) -> list[float]:
    """The row that every session is given at this step: bits that differ from step to step."""
    return [float(at * 7 >> bit & 1) for bit in range(WIDTH)]


def create(client: httpx.Client) -> str:
    """A new session's id."""
    answer = client.post("/v1/models/copy/sessions", json={})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def step(client: httpx.Client, session: str, at: int) -> httpx.Response:
    """The answer to row `at`, asked for with one key until it comes."""
    key = {"Idempotency-Key": uuid4().hex}
    found: list[httpx.Response] = []

    def answered() -> bool:
        try:
            got = client.post(
                f"/v1/sessions/{session}/steps", json={"inputs": [row(at)]}, headers=key
            )
        except httpx.TransportError:
            return False
        found.append(got)
        return got.status_code == 200

    until(answered, RECOVERY_S)
    return found[-1]


class Walker(threading.Thread):
    """Steps a session until it is told to stop. Remembers every answer and who gave it."""

    def __init__(self, serving: OnRay, session: str, stop: threading.Event) -> None:
        super().__init__(name=session)
        self._serving, self._ended = serving, stop
        self.outputs: list[list[float]] = []
        self.replicas: list[str] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        """See `threading.Thread`."""
        try:
            with self._serving.client() as client:
                while not self._ended.is_set():
                    got = step(client, self.name, len(self.outputs))
                    assert got.json()["step"] == len(self.outputs) + 1
                    self.outputs += got.json()["outputs"]
                    self.replicas.append(got.headers["X-Replica"])
        except BaseException as error:
            self.error = error


def walk(serving: OnRay, meanwhile: Any) -> list[Walker]:
    """Step all sessions at once, and do something meanwhile, once each has been answered twice."""
    stop = threading.Event()
    with serving.client() as client:
        walkers = [Walker(serving, create(client), stop) for _ in range(SESSIONS)]
    for walker in walkers:
        walker.start()
    try:
        until(lambda: all(len(w.outputs) > 2 for w in walkers), RECOVERY_S)
        meanwhile()
        further = [len(walker.outputs) + 3 for walker in walkers]
        until(
            lambda: (
                all(len(w.outputs) > n for w, n in zip(walkers, further, strict=True))
                or any(w.error for w in walkers)
            ),
            RECOVERY_S,
        )
    finally:
        stop.set()
        for walker in walkers:
            walker.join()
    return walkers


def assert_nothing_is_lost(serving: OnRay, walkers: list[Walker]) -> None:
    """Every answer is that of one run from the start without a break, to the last bit."""
    with serving.client() as client:
        for walker in walkers:
            assert walker.error is None, walker.error
            rows = [row(at) for at in range(len(walker.outputs))]
            told = client.get(f"/v1/sessions/{walker.name}").json()
            assert (told["step"], told["revision"]) == (len(rows), len(rows) + 1)
            whole = client.post("/v1/models/copy/predict", json={"inputs": rows})
            assert whole.json()["outputs"] == walker.outputs


def test_a_session_keeps_its_replica_and_both_have_some(serving: OnRay):
    answered: dict[str, set[str]] = defaultdict(set)
    with serving.client() as client:
        for session in [create(client) for _ in range(SESSIONS)]:
            for at in range(4):
                answered[session].add(step(client, session, at).headers["X-Replica"])
            told = client.get(f"/v1/sessions/{session}")
            answered[session].add(told.headers["X-Replica"])
    assert {len(replicas) for replicas in answered.values()} == {1}
    assert len(set.union(*answered.values())) == 2


def test_a_session_is_answered_rightly_by_whatever_replica(serving: OnRay):
    """The header says which session to hash, and goes before the path."""
    with serving.client() as client:
        session, outputs, answered = create(client), [], set()
        for at in range(8):
            client.headers["X-Session-Id"] = f"other-{at}"
            got = step(client, session, at)
            outputs += got.json()["outputs"]
            answered.add(got.headers["X-Replica"])
        whole = client.post("/v1/models/copy/predict", json={"inputs": [row(n) for n in range(8)]})
    assert len(answered) == 2
    assert whole.json()["outputs"] == outputs


def test_an_answer_has_one_request_id_the_clients_own(serving: OnRay):
    with serving.client() as client:
        found = client.get("/v1/sessions/nobody", headers={"X-Request-Id": "mine"})
    assert found.headers.get_list("X-Request-Id") == ["mine"]
    assert (found.status_code, found.json()["code"]) == (404, "session_not_found")


def test_rows_over_a_websocket_reach_the_session_through_the_proxy(serving: OnRay):
    with Client(serving.url) as client, client.session("copy") as session:
        with session.stream() as stream:
            done = list(stream.run([[row(at)] for at in range(5)]))
        assert [answer.step for answer in done] == [1, 2, 3, 4, 5]
        assert session.info().step == 5


def test_an_engine_that_is_killed_comes_back_and_nothing_is_lost(
    serving: OnRay, redis: RedisServer
):
    before = engines(redis)
    assert len(before) == 2

    def kill() -> None:
        os.kill(before[0], signal.SIGKILL)

    assert_nothing_is_lost(serving, walk(serving, kill))
    until(lambda: len(set(engines(redis)) - {before[0]}) == 2, RECOVERY_S)


def test_a_replica_that_is_killed_is_replaced_and_nothing_acknowledged_is_lost(
    serving: OnRay, redis: RedisServer
):
    before, its_engines = replicas(redis), engines(redis)
    assert len(before) == 2

    def kill() -> None:
        os.kill(before[0], signal.SIGKILL)
        until(lambda: len(set(replicas(redis)) - {before[0]}) == 2, RECOVERY_S)

    walkers = walk(serving, kill)
    assert_nothing_is_lost(serving, walkers)
    known = {walker.replicas[0] for walker in walkers}
    gone = {w.replicas[0] for w in walkers if len(set(w.replicas) & known) > 1}
    assert len(gone) == 1  # the other's sessions went nowhere but to the new one, for its share
    until(lambda: len(set(its_engines) & set(engines(redis))) == 1, RECOVERY_S)  # it ended too


def test_the_configuration_for_ray_is_one_that_ray_takes():
    check = (
        "import sys, yaml; from ray.serve.schema import ServeDeploySchema; "
        "ServeDeploySchema.model_validate(yaml.safe_load(open(sys.argv[1])))"
    )
    done = subprocess.run(
        [python_of_ray(), "-c", check, DEPLOYED / "serve.yaml"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
