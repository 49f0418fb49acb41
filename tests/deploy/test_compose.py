"""docker-compose.yml by itself: settings, profiles, secrets, networks and limits. No engine."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError

from service.settings import table
from tests.deploy.deployment import ROOT, SERVERS
from tests.ports import free_port
from tests.service.serving import environ, until
from tests.service.store.redis_server import binary

FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
SERVING = (*SERVERS, "single", "gpu")
# Where a server is published; inside its container it is always 0.0.0.0:8000.
PUBLISHED = {"NTM_HOST", "NTM_PORT"}


@pytest.mark.parametrize("service", SERVING)
def test_every_setting_can_be_reached(service: str):
    given = {name for name in SERVICES[service]["environment"] if name.startswith("NTM_")}
    assert given | PUBLISHED == {variable for variable, _, _ in table()}
    (port,) = SERVICES["router" if service in SERVERS else service]["ports"]
    assert port == "${NTM_HOST:-127.0.0.1}:${NTM_PORT:-8000}:8000"


@pytest.mark.parametrize("service", SERVING)
def test_a_setting_that_compose_chooses_can_be_chosen_otherwise(service: str):
    for name, value in SERVICES[service]["environment"].items():
        assert value is None or re.fullmatch(rf"\$\{{{name}:?-.+\}}", value), (name, value)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_no_rights_and_bounds(service: str):
    found = SERVICES[service]
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    limits = found["deploy"]["resources"]["limits"]
    assert limits.keys() == {"cpus", "memory", "pids"}
    assert not found.get("privileged") and "docker.sock" not in str(found)


def test_only_what_draws_secrets_is_root_and_it_reaches_nobody():
    for name, found in SERVICES.items():
        if name in ("setup", "keys"):
            assert found["network_mode"] == "none"
        else:
            assert not str(found.get("user", "10001")).startswith("0") and "cap_add" not in found


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_is_pinned_and_can_be_another(service: str):
    found = re.fullmatch(
        r"\$\{[A-Z_]+_IMAGE:-([a-z/-]+):([a-z0-9.-]+)\}", SERVICES[service]["image"]
    )
    assert found, SERVICES[service]["image"]
    assert found[1] == "ntm-serve" or re.search(r"\d+\.\d+\.\d+", found[2]), found[0]


def test_redis_is_reached_by_the_replicas_alone():
    networks = {name: set(found.get("networks", ())) for name, found in SERVICES.items()}
    assert networks["redis"] == {"store"} and "ports" not in SERVICES["redis"]
    assert {name for name, found in networks.items() if "store" in found} == {"redis", *SERVERS}
    assert COMPOSE["networks"]["store"] == {"internal": True}
    assert COMPOSE["networks"]["servers"] == {"internal": True}


def test_whatever_is_published_is_published_on_the_loopback():
    for found in SERVICES.values():
        for port in found.get("ports", ()):
            assert port.startswith(("127.0.0.1:", "${NTM_HOST:-127.0.0.1}:")), port


def test_what_starts_waits_for_what_it_needs():
    for name, found in SERVICES.items():
        conditions = {at: of["condition"] for at, of in found.get("depends_on", {}).items()}
        if any("secrets" in str(volume) for volume in found.get("volumes", ())):
            assert name in ("setup", "keys") or conditions["setup"].endswith("successfully")
        if name in SERVERS:
            assert conditions["redis"] == "service_healthy"
        if name == "router":
            assert conditions == dict.fromkeys(SERVERS, "service_healthy")
        if name not in (*SERVING, "setup", "keys"):  # the image has theirs
            assert found["healthcheck"]["test"]


def test_no_secret_stands_in_the_file_or_in_an_environment():
    for found in SERVICES.values():
        for name, value in found.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|KEY|TOKEN", name) and value:
                assert "/run/secrets/" in value, (name, value)


def test_what_is_mounted_is_there():
    for found in SERVICES.values():
        for volume in found.get("volumes", ()):
            source = re.sub(r"\$\{[A-Z_]+:-(.*?)\}", r"\1", volume).split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).exists(), volume


def test_a_plain_up_has_three_replicas_and_those_who_watch_them():
    told = dict(
        line.split("=") for line in (ROOT / ".env").read_text().splitlines() if line[0] != "#"
    )
    chosen = set(told["COMPOSE_PROFILES"].split(","))
    started = {name for name, found in SERVICES.items() if chosen & set(found["profiles"])}
    watching = {"prometheus", "alertmanager", "grafana"}
    assert started == {*SERVERS, "redis", "router", "setup"} | watching
    assert all(found["profiles"] for found in SERVICES.values())


def test_a_server_has_the_time_to_drain():
    for name in SERVING:
        assert (
            SERVICES[name]["stop_grace_period"] == "${SERVER_STOP:-75s}"
        )  # twice NTM_DRAIN_S and its margin


@pytest.mark.parametrize("profiles", ["", "single", "gpu", "single,watch"])
def test_compose_takes_the_file(profiles: str):
    command = ["docker", "compose", "--file", str(FILE)]
    if (
        shutil.which("docker") is None
        or subprocess.run([*command, "version"], capture_output=True, timeout=60).returncode
    ):
        pytest.skip("no docker compose here")
    chosen = [part for name in profiles.split(",") if name for part in ("--profile", name)]
    done = subprocess.run(
        [*command, *chosen, "config", "--quiet"], env=environ(), capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr, done.stderr


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs Debian's haproxy")
def test_haproxy_takes_its_file():
    names = {f"NTM_REPLICA_{n}": f"127.0.0.1:{n}" for n in (1, 2, 3)}
    config = ROOT / "deploy" / "haproxy" / "haproxy.cfg"
    done = subprocess.run(
        ["haproxy", "-c", "-f", config], env=environ(NTM_LISTEN="127.0.0.1:4", **names),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def setup(folder: Path) -> dict[str, bytes]:
    """The secrets in a folder, once what was missing has been drawn."""
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    script = ROOT / "deploy" / "compose" / "setup.sh"
    subprocess.run(
        ["/bin/sh", script, folder], env=environ(PATH=path, PYTHONPATH=str(ROOT)),
        check=True, timeout=60,
    )  # fmt: skip
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.stat().st_size}


def test_an_operator_may_change_redis_as_the_runbook_says_and_the_server_may_not(tmp_path: Path):
    drawn, port = setup(tmp_path), free_port()
    acl, line = str(tmp_path / "redis.acl"), ("config", "set", "maxmemory", "1500mb")
    with subprocess.Popen(
        [binary(), "--port", str(port), "--save", "", "--aclfile", acl]
    ) as process:
        try:
            users = {"operator": "redis_operator", "ntm": "redis_password"}
            clients = {
                user: Redis("127.0.0.1", port, username=user, password=drawn[file].decode())
                for user, file in users.items()
            }
            until(lambda: listens(clients["operator"]))
            assert clients["operator"].execute_command(*line) in (True, b"OK")
            assert clients["operator"].execute_command("slowlog", "get") == []
            with pytest.raises(NoPermissionError):
                clients["ntm"].execute_command(*line)
        finally:
            process.kill()


def listens(client: Redis) -> bool:
    """Does a Redis answer?"""
    with contextlib.suppress(RedisConnectionError):
        return bool(client.ping())
    return False


def test_the_secrets_are_drawn_once_and_for_their_readers(tmp_path: Path):
    drawn = setup(tmp_path)
    assert drawn.keys() == {
        "keys.json", "metrics_key", "redis_password", "redis_operator", "redis.acl",
        "grafana_password", "alert_webhook",
    }  # fmt: skip
    assert all(file.stat().st_mode & 0o077 == 0 for file in tmp_path.iterdir())
    assert drawn["redis_password"] in drawn["redis.acl"] and len(drawn["redis_password"]) == 64
    assert drawn["redis_password"] != drawn["grafana_password"]
    (tmp_path / "redis_password").chmod(0o600)
    (tmp_path / "redis_password").write_text("mine")
    again = setup(tmp_path)
    assert again["redis_password"] == b"mine" and b">mine " in again["redis.acl"]
    assert again["keys.json"] == drawn["keys.json"]
