"""The files that deploy/kubernetes mounts, in the programs that read them: Redis and the server.

No cluster: settings are the ConfigMaps', but for the addresses, folders and files of a test.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.deploy.kubernetes import KUBERNETES, environment, one, pod
from tests.service.serving import launched, until
from tests.service.store.redis_server import RedisServer

PASSWORD = "correct-horse"
ZOO = "copy"


class OurRedis(RedisServer):
    """With the ConfigMap's redis.conf and the users of users.acl."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        folder.mkdir()
        sha256 = hashlib.sha256(PASSWORD.encode()).hexdigest()
        users = (KUBERNETES / "components" / "redis" / "users.acl").read_text()
        (folder / "users.acl").write_text(users.replace("PASSWORD_SHA256", sha256))
        told = one("cpu", "ConfigMap", "ntm-redis")["data"]["redis.conf"]
        lines = [line.partition(" ") for line in told.splitlines() if line and line[0] != "#"]
        self.settings = {name: text for name, _, text in lines}
        self.settings |= {"dir": str(folder), "aclfile": str(folder / "users.acl")}

    def _answers(self) -> bool:
        try:
            return self.ask("AUTH", "probe", "none").startswith(b"+OK")
        except OSError:
            return False


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[OurRedis]:
    server = OurRedis(tmp_path / "redis")
    server.start()
    yield server
    server.kill()


def settings_for(redis: OurRedis, folder: Path) -> dict[str, str]:
    """The ConfigMap's, with the test's Redis, its password in a file, and no keys."""
    (folder / "redis-password").write_text(PASSWORD + "\n")
    return environment("cpu", "server") | {
        "NTM_STORE": f"redis://ntm@127.0.0.1:{redis.port}/0",
        "NTM_REDIS_PASSWORD_FILE": str(folder / "redis-password"),
        "NTM_KEYS": "",
        "NTM_HOST": "127.0.0.1",
        "NTM_PORT": "0",
        "NTM_CACHE": "/nonexistent",
    }


def create(client: httpx.Client) -> str:
    return client.post(f"/v1/models/{ZOO}/sessions", json={}).json()["id"]


def step(client: httpx.Client, session: str, **headers: str) -> httpx.Response:
    rows = {"inputs": [[0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0]]}
    return client.post(f"/v1/sessions/{session}/steps", json=rows, headers=headers)


def test_the_server_takes_this_redis_and_it_keeps_what_it_acknowledged(
    redis: OurRedis, tmp_path: Path
):
    with launched(tmp_path, **settings_for(redis, tmp_path)) as server:
        server.wait_until_listening()
        with server.client() as client:
            session = create(client)
            outputs = [step(client, session).json()["outputs"][0] for _ in range(3)]
            redis.kill()
            redis.start()

            def answered() -> Any:
                found = step(client, session)
                return found if found.status_code == 200 else None

            outputs += until(answered).json()["outputs"]
            assert client.get(f"/v1/sessions/{session}").json()["step"] == 4
            rows = [[0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0]] * 4
            whole = client.post(f"/v1/models/{ZOO}/predict", json={"inputs": rows})
            assert whole.json()["outputs"] == outputs


def test_nobody_without_the_password_reads_the_store_and_the_probe_may_ping_alone(redis: OurRedis):
    assert redis.ask("KEYS", "*").startswith(b"-NOAUTH")
    assert redis.ask("AUTH", "default", "").startswith(b"-WRONGPASS")
    assert redis.ask("AUTH", "ntm", "wrong").startswith(b"-WRONGPASS")
    program, *options = pod("cpu", "redis").container["readinessProbe"]["exec"]["command"]
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"no {program}, so the probe's command is not run")
    where = [found, "-h", "127.0.0.1", "-p", str(redis.port)]

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*where, *command], capture_output=True, text=True, timeout=20)

    assert (done := run(*options)).returncode == 0, done
    assert done.stdout == "PONG\n"
    assert run(*options[:-1], "get", "ntm:models").returncode != 0


def test_the_metric_of_the_autoscaler_is_one_that_the_server_exposes(
    redis: OurRedis, tmp_path: Path
):
    (rule,) = yaml.safe_load((KUBERNETES / "adapter-rules.yaml").read_text())["rules"]["custom"]
    series = re.match(r"[a-z_]+", rule["seriesQuery"])
    with launched(tmp_path, **settings_for(redis, tmp_path)) as server:
        server.wait_until_listening()
        with server.client() as client:
            step(client, create(client))
            exposed = client.get("/metrics").text
    assert series and series[0] == rule["name"]["as"]
    assert f"# TYPE {series[0]} gauge\n" in exposed
    assert re.search(rf'^{series[0]}{{model="{ZOO}"}} 0\.0$', exposed, re.MULTILINE)
