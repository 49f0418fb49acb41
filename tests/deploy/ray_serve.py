"""Ray with the application of deploy/ray, on the loopback, in an environment of its own."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

import httpx

from tests.bench.peers.started import started
from tests.ports import free_port
from tests.service.serving import alive, until

ROOT = Path(__file__).resolve().parents[2]
DEPLOYED = ROOT / "deploy" / "ray"
INSIDE = Path(__file__).resolve().parent / "inside"
BUILT = ROOT / "build" / "ray"
WANTED = (ROOT / "requirements-cpu.lock", DEPLOYED / "requirements.txt")
BUILD_S, START_S = 1800, 180
FAMILY = "ray::ServeReplica"


class OnRay(NamedTuple):
    """url: of Ray's proxy. pid: of the driver, from which all of Ray descends."""

    url: str
    pid: int

    def client(self) -> httpx.Client:
        """A client of it."""
        return httpx.Client(base_url=self.url, timeout=30)


def python_of_ray() -> Path:
    """The Python of an environment with Ray, built where it is not there yet."""
    BUILT.mkdir(parents=True, exist_ok=True)
    wanted = "".join(path.read_text() for path in WANTED)
    folder = BUILT / "env"
    with open(BUILT / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = folder / "built"
        if not stamp.exists() or stamp.read_text() != wanted:
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
            files = [text for path in WANTED for text in ("-r", str(path))]
            subprocess.run([*pip, *files], check=True, timeout=BUILD_S)
            stamp.write_text(wanted)
    return folder / "bin" / "python"


@contextmanager
def on_ray(folder: Path, **settings: str) -> Generator[OnRay]:
    """Two replicas, ready. folder: of Ray's own files, with a short path, since it makes sockets.

    Ray's daemons listen on all interfaces, for which it has no setting: they ask for a token.
    """
    port, log = free_port(), folder / "log"
    command = [
        str(python_of_ray()),
        str(INSIDE / "serve_on_ray.py"),
        str(port),
        str(folder / "ray"),
    ]
    (folder / "token").write_text(token_hex(32))
    with started(command, log, _environ(folder / "token") | settings) as pid:

        def ready() -> bool:
            assert alive(pid), log.read_text()
            return "\nready\n" in log.read_text()

        until(ready, START_S)
        yield OnRay(f"http://127.0.0.1:{port}", pid)


def _environ(token: Path) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("NTM_")}
    return kept | {
        "PYTHONPATH": f"{ROOT}:{DEPLOYED}",
        "NTM_CACHE": "/nonexistent",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "ntm_ray.affinity:middlewares",
    }


def processes(of: Callable[[str], bool], environment: str) -> list[int]:
    """The process ids whose command line is so, and that were started with this in their
    environment."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit() or not of((entry / "cmdline").read_text()):
                continue
            if environment.encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue  # it is gone, or another user's
    return found
