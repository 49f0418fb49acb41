"""Prometheus and Alertmanager of the deployment as processes on the loopback, and a webhook.

Their configurations are the deployed ones, but for where things are: targets instead of a name,
files here instead of secrets, and 2 s between two scrapes: one takes up to 1 s while the store is
away.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.ports import free_port
from tests.service.serving import until

PROMETHEUS = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
INTERVAL = "2s"
START_S = 30
URL_FILE_SINCE = (0, 26)


def tool(*names: str) -> str:
    """A program of the PATH by one of its names; where there is none, the test is skipped."""
    for name in names:
        if found := shutil.which(name):
            return found
    pytest.skip(f"no {names[0]} here: install Debian's prometheus and prometheus-alertmanager")


def prometheus_config(
    folder: Path, targets: Sequence[str], alertmanager: str = "", key: str = "none"
) -> Path:
    """The deployed configuration for these servers (host:port), written to a folder."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    config["global"] |= dict.fromkeys(
        ("scrape_interval", "scrape_timeout", "evaluation_interval"), INTERVAL
    )
    config["rule_files"] = [str(PROMETHEUS / name) for name in config["rule_files"]]
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = (
        [alertmanager] if alertmanager else []
    )
    (servers,) = [job for job in config["scrape_configs"] if job["job_name"] == "ntm"]
    del servers["dns_sd_configs"]
    servers["static_configs"] = [{"targets": list(targets)}]
    (folder / "metrics_key").write_text(key)
    servers["authorization"]["credentials_file"] = str(folder / "metrics_key")
    config["scrape_configs"] = [servers]
    return _written(folder / "prometheus.yml", config)


def alertmanager_config(folder: Path, webhook: str) -> Path:
    """The deployed configuration with this webhook, written to a folder."""
    config = yaml.safe_load((PROMETHEUS / "alertmanager.yml").read_text())
    (hook,) = config["receivers"][0]["webhook_configs"]
    if _version(tool("prometheus-alertmanager", "alertmanager")) >= URL_FILE_SINCE:
        (folder / "alert_webhook").write_text(webhook)
        hook["url_file"] = str(folder / "alert_webhook")
    else:  # Debian 12 has 0.25
        del hook["url_file"]
        hook["url"] = webhook
    return _written(folder / "alertmanager.yml", config)


@contextmanager
def prometheus(
    folder: Path, targets: Sequence[str], alertmanager: str = "", key: str = "none"
) -> Generator[str]:
    """Prometheus, scraping these servers. Gives its URL."""
    address = f"127.0.0.1:{free_port()}"
    config = prometheus_config(folder, targets, alertmanager, key)
    with _running(
        folder / "prometheus.log",
        tool("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={address}",
    ):
        _wait(f"http://{address}/-/ready")
        yield f"http://{address}"


@contextmanager
def alertmanager(folder: Path, webhook: str) -> Generator[str]:
    """Alertmanager, which tells this webhook. Gives its host and port."""
    address = f"127.0.0.1:{free_port()}"
    with _running(
        folder / "alertmanager.log",
        tool("prometheus-alertmanager", "alertmanager"),
        f"--config.file={alertmanager_config(folder, webhook)}",
        f"--storage.path={folder / 'alerts'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ):
        _wait(f"http://{address}/-/ready")
        yield address


@contextmanager
def webhook() -> Generator[tuple[str, list[dict[str, Any]]]]:
    """A receiver of alerts. Gives its URL and the alerts that it was told of so far."""
    told: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.extend(json.loads(body)["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/alerts", told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _written(path: Path, config: Any) -> Path:
    path.write_text(yaml.safe_dump(config))
    return path


def _version(program: str) -> tuple[int, ...]:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"version (\d+)\.(\d+)", done.stdout + done.stderr)
    assert found, done
    return int(found[1]), int(found[2])


def _wait(url: str) -> None:
    def ready() -> bool:
        try:
            return httpx.get(url, timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    until(ready, START_S)


@contextmanager
def _running(log: Path, *command: str) -> Generator[None]:
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        process.wait(START_S)
