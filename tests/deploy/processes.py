"""The deployment as processes on the loopback, from the same files that the containers mount."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.deploy import watched
from tests.deploy.deployment import ROOT, SERVERS
from tests.ports import free_port
from tests.service.serving import environ
from tests.service.store.redis_server import binary

STOP_S = 80
DEPLOY = ROOT / "deploy"
NOBODY = "http://127.0.0.1:9/nobody"  # the alerts are asked for instead
NEEDED = ("haproxy", "prometheus", "prometheus-alertmanager")


def missing() -> list[str]:
    """The programs that are not here."""
    return [name for name in NEEDED if shutil.which(name) is None]


class Processes:
    """See `Deployment`. Everything is ended with `stack`."""

    form = "processes"

    def __init__(
        self, folder: Path, models: Path, settings: dict[str, str], stack: ExitStack
    ) -> None:
        self._folder, self._secrets = folder, folder / "secrets"
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        names = (*SERVERS, "redis", "router", "prometheus", "alertmanager")
        self._ports = {name: free_port() for name in names}
        self.router, self.prometheus, self.alertmanager = (
            f"http://{self._address(name)}" for name in ("router", "prometheus", "alertmanager")
        )
        self._draw_secrets()
        self._settings = settings | {
            "NTM_MODELS": str(models),
            "NTM_STORE": f"redis://ntm@{self._address('redis')}/0",
            "NTM_REDIS_PASSWORD_FILE": str(self._secrets / "redis_password"),
            "NTM_KEYS": str(self._secrets / "keys.json"),
        }
        stack.callback(self._end)
        for name in ("redis", *SERVERS, "router", "alertmanager", "prometheus"):
            self.start(name)

    def kill(self, service: str) -> None:
        """See `Deployment`. A server's children end with it, for their lifeline closes."""
        process = self._running.pop(service)
        process.kill()
        process.wait()

    def start(self, service: str) -> None:
        """See `Deployment`."""
        command, variables = self._command_of(service)
        with open(self._folder / f"{service}.log", "ab") as log:
            self._running[service] = subprocess.Popen(
                command, env=environ(**variables), cwd=self._folder, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def stop(self, service: str) -> int:
        """See `Deployment`."""
        process = self._running.pop(service)
        process.send_signal(signal.SIGTERM)
        return process.wait(STOP_S)

    def new_key(self, tenant: str) -> str:
        """See `Deployment`."""
        file = str(self._secrets / "keys.json")
        return _ntm("keys", "create", "--file", file, "--tenant", tenant)

    def _command_of(self, service: str) -> tuple[list[str], dict[str, str]]:
        """What runs it, and its settings."""
        port, data = self._ports[service], self._folder / service
        data.mkdir(exist_ok=True)
        match service:
            case "redis":
                where = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(data)]
                users = ["--aclfile", str(self._secrets / "redis.acl")]
                return [binary(), str(DEPLOY / "redis" / "redis.conf"), *where, *users], {}
            case "router":
                names = {f"NTM_REPLICA_{n}": self._address(s) for n, s in enumerate(SERVERS, 1)}
                names |= {"NTM_LISTEN": self._address(service)}
                return ["haproxy", "-db", "-f", str(DEPLOY / "haproxy" / "haproxy.cfg")], names
            case "prometheus":
                key = (self._secrets / "metrics_key").read_text().strip()
                targets = [self._address(name) for name in SERVERS]
                alerts = self._address("alertmanager")
                config = watched.prometheus_config(self._folder, targets, alerts, key)
                return _watcher("prometheus", config, "tsdb.", port, data), {}
            case "alertmanager":
                alone = ["--cluster.listen-address="]
                config = watched.alertmanager_config(self._folder, NOBODY)
                return [*_watcher("prometheus-alertmanager", config, "", port, data), *alone], {}
            case _:
                command = [sys.executable, "-m", "service.cli", "serve", "--port", str(port)]
                return command, self._settings | {"PYTHONPATH": str(ROOT)}

    def _address(self, service: str) -> str:
        return f"127.0.0.1:{self._ports[service]}"

    def _draw_secrets(self) -> None:
        self._secrets.mkdir()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(
            ["/bin/sh", DEPLOY / "compose" / "setup.sh", self._secrets],
            env=environ(PATH=path, PYTHONPATH=str(ROOT)), check=True, timeout=60,
        )  # fmt: skip

    def _end(self) -> None:
        """All of them at once, the servers without a drain."""
        for process in self._running.values():
            process.kill()
        for process in self._running.values():
            process.wait()


def _watcher(program: str, config: Path, kind: str, port: int, data: Path) -> list[str]:
    return [
        program,
        f"--config.file={config}",
        f"--storage.{kind}path={data}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]


def _ntm(*argv: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", *argv], env=environ(PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE, check=True, text=True, timeout=60,
    )  # fmt: skip
    return done.stdout.strip()
