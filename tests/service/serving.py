"""A real server for tests: `ntm serve` on a free port, with real bundles."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

START_S = 90
STOP_S = 40
POLL_S = 0.02
LISTENS = re.compile(r"listens on (https?://\S+)")
ROW = [0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.5]  # one the copy model takes


def until(what: Callable[[], Any], within_s: float = 20.0) -> Any:
    """Poll until `what` gives something true, and return it. Fails when that takes too long."""
    end = time.monotonic() + within_s
    while not (found := what()):
        assert time.monotonic() < end, f"not so within {within_s} s"
        time.sleep(POLL_S)
    return found


def client_of(app: Any) -> httpx.AsyncClient:
    """A client of an app in this process, without a server."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


def environ(**settings: str) -> dict[str, str]:
    """This process's environment with these settings, and no other: what a user has compiled for
    his own servers is not what is tested."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NTM_")}
    return kept | {"NTM_CACHE": "/nonexistent"} | settings


class Server:
    """A running `ntm serve`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self.log = process, log
        self.url = ""

    def text(self) -> str:
        """What it and its children have printed."""
        return self.log.read_text()

    def client(self, **options: Any) -> httpx.Client:
        """A client of it."""
        return httpx.Client(base_url=self.url, timeout=30, **options)

    def children(self, module: str) -> list[int]:
        """The process ids of its children that run this module."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listed.split() if module in _command(int(pid))]

    def stop(self) -> int:
        """End it by SIGTERM. Returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)

    def wait_until_listening(self) -> None:
        """Until it has said where. Fails where it ends before."""

        def said() -> bool:
            assert self.process.poll() is None, f"ended:\n{self.text()}"
            return bool(LISTENS.search(self.text()))

        until(said, START_S)
        found = LISTENS.search(self.text())
        assert found
        self.url = found[1]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def alive(pid: int) -> bool:
    """Does this process still run? One that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def memory_of(pid: int) -> int:
    """The bytes that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def launched(folder: Path, *arguments: str, **settings: str) -> Generator[Server]:
    """`ntm serve` with these arguments and settings, perhaps not listening yet."""
    log = folder / "server.log"
    command = [sys.executable, "-m", "service.cli", "serve", *arguments]
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command, env=environ(**settings), stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )
    server = Server(process, log)
    try:
        yield server
    finally:
        if process.poll() is None:
            server.stop()


@contextmanager
def served(folder: Path, models: Path, **settings: str) -> Generator[Server]:
    """`ntm serve` of these models on a free port, ready."""
    with launched(folder, "--port", "0", **({"NTM_MODELS": str(models)} | settings)) as server:
        server.wait_until_listening()
        yield server
