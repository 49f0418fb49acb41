"""The deployment in containers: docker-compose.yml, as it is."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.deployment import ROOT
from tests.ports import free_port

IMAGE = "ntm-serve:test"
SCRIPTS = Path(__file__).parent
ENGINE = ROOT / "build" / "engine"  # one that is started here, its images and the stand-ins' base
BUILD_S, UP_S, ASK_S = 900, 300, 90
NOBODY = "http://127.0.0.1:9/nobody"


class Docker:
    """The engine that $DOCKER_HOST or the system names, or one started with the tests."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = dict(environ)

    def run(self, *arguments: str, within_s: float = ASK_S) -> str:
        """What `docker ...` prints. Fails with all it said."""
        done = subprocess.run(
            ["docker", *arguments], env=self.environ, cwd=ROOT, capture_output=True, text=True,
            timeout=within_s,
        )  # fmt: skip
        assert done.returncode == 0, f"docker {arguments}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def answers(self) -> bool:
        """Is there an engine, with compose?"""
        try:
            self.run("info")
            self.run("compose", "version")
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            return False
        return True


def engine(stack: ExitStack, start: bool) -> Docker | None:
    """The one that is there; else, where `start` says so, one of our own; else None."""
    docker = Docker(os.environ)
    if docker.answers():
        return docker
    if not start:
        return None
    script = str(SCRIPTS / "engine.sh")
    subprocess.run([script, "start", str(ENGINE)], check=True, timeout=BUILD_S)
    stack.callback(subprocess.run, [script, "stop", str(ENGINE)], check=True, timeout=ASK_S)
    ours = {"DOCKER_HOST": f"unix://{ENGINE}/docker.sock", "DOCKER_CONFIG": str(ENGINE / "config")}
    return Docker(docker.environ | ours)


def reaches_registry() -> bool:
    """Can Docker Hub be found from here?"""
    try:
        socket.create_connection(("registry-1.docker.io", 443), 5).close()
    except OSError:
        return False
    return True


def build(docker: Docker, stand_ins: bool) -> None:
    """The image `cpu`; from a stand-in of its base, with the network of this machine."""
    if stand_ins:
        command = [str(SCRIPTS / "stand_ins.sh"), str(ENGINE)]
        subprocess.run(command, env=docker.environ, check=True, timeout=BUILD_S)
    network = ["--network", "host"] if stand_ins else []
    arguments = ["build", *network, "--target", "cpu", "--tag", IMAGE, "."]
    docker.environ["DOCKER_BUILDKIT"] = "1"
    docker.run(*arguments, within_s=BUILD_S)


class Containers:
    """See `Deployment`. All of it is taken down with `stack`, its volumes too."""

    form = "containers"

    def __init__(
        self,
        docker: Docker,
        folder: Path,
        models: Path,
        settings: dict[str, str],
        stand_ins: bool,
        stack: ExitStack,
    ) -> None:
        ports = {name: str(free_port()) for name in ("NTM", "PROMETHEUS", "ALERTMANAGER")}
        variables = {f"{name}_PORT": port for name, port in ports.items()} | settings
        variables |= {"SERVER_IMAGE": IMAGE, "MODELS": str(models), "SERVER_CPUS": _cores()}
        # Nobody's own settings, nor his profiles.
        kept = {n: v for n, v in docker.environ.items() if not n.startswith(("NTM_", "COMPOSE_"))}
        self._docker = Docker(kept | variables)
        env_file = ROOT / ".env"
        if stand_ins:
            env_file = SCRIPTS / "stand_ins.env"
            self._docker.environ["ALERTMANAGER_CONFIG"] = str(_without_url_file(folder))
        self._compose = ["compose", "--env-file", str(env_file), "--project-name", "ntm-test"]
        self.router, self.prometheus, self.alertmanager = (
            f"http://127.0.0.1:{port}" for port in ports.values()
        )
        without = ["--pull", "never", "--scale", "grafana=0"] if stand_ins else []
        stack.callback(self.compose, "down", "--volumes", "--timeout", "1")
        self.compose("up", "--detach", "--wait", "--no-build", *without, within_s=UP_S)

    def compose(self, *arguments: str, within_s: float = ASK_S) -> str:
        """What `docker compose ...` prints."""
        return self._docker.run(*self._compose, *arguments, within_s=within_s)

    def kill(self, service: str) -> None:
        """See `Deployment`."""
        self.compose("kill", "--signal", "KILL", service)

    def start(self, service: str) -> None:
        """See `Deployment`."""
        self.compose("start", service)

    def stop(self, service: str) -> int:
        """See `Deployment`."""
        self.compose("stop", service)
        return int(self.inspect(service)["State"]["ExitCode"])

    def new_key(self, tenant: str) -> str:
        """See `Deployment`."""
        return self.compose("run", "--rm", "-T", "keys", "create", "--tenant", tenant).strip()

    def inspect(self, service: str) -> dict[str, Any]:
        """What the engine tells of a service's container."""
        (found,) = json.loads(self._docker.run("inspect", self._id(service)))
        return found

    def image(self) -> dict[str, Any]:
        """What the engine tells of the servers' image."""
        (found,) = json.loads(self._docker.run("image", "inspect", IMAGE))
        return found

    def inside(self, service: str, command: str) -> str:
        """What a shell's command prints inside a service's container, and its status."""
        return self.compose("exec", "-T", service, "sh", "-c", f"{command} 2>&1; echo $?")

    def _id(self, service: str) -> str:
        return self.compose("ps", "--all", "--quiet", service).strip()


def _cores() -> str:
    return str(min(2, os.cpu_count() or 1))


def _without_url_file(folder: Path) -> Path:
    """deploy/prometheus/alertmanager.yml for the stand-in, a 0.25, which reads a webhook's URL from
    no file yet."""
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alertmanager.yml").read_text())
    for receiver in config["receivers"]:
        for webhook in receiver["webhook_configs"]:
            del webhook["url_file"]
            webhook["url"] = NOBODY
    path = folder / "alertmanager.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def can_start() -> bool:
    """May an engine be started here?"""
    return os.geteuid() == 0 and shutil.which("docker") is not None
