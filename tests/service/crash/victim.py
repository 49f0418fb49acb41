"""A server whose processes can be killed, and whose engine kills itself at an armed point."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ports import free_port
from tests.service.crash.client import HISTORY_ROWS
from tests.service.crash.crowd import eventually
from tests.service.serving import Server, alive, environ
from tests.service.store.redis_server import running

ROOT = Path(__file__).parents[3]
STORES = ("sqlite", "redis")
BACK_S = 60.0  # for a process to be there again
SMALL = {
    "NTM_DEVICE": "cpu",  # or the engine would import torch to look for another, at each start
    "NTM_SLOTS": "12",  # so that sessions move between device, host and store
    "NTM_HOST_STATE_BYTES": "200000",
    "NTM_MAX_BATCH": "16",
    "NTM_CHECKPOINT_ROWS": "8",
    "NTM_HISTORY_ROWS": str(HISTORY_ROWS),
}


class Victim:
    """The server and the folder of its points."""

    def __init__(self, server: Server, points: Path) -> None:
        self.server, self._points = server, points

    async def kill(self, module: str) -> None:
        """SIGKILL of the engine or the front, as soon as there is one."""
        await eventually(lambda: self.server.children(module), BACK_S)
        for pid in self.server.children(module)[:1]:
            os.kill(pid, signal.SIGKILL)
            await eventually(lambda pid=pid: not alive(pid), BACK_S)

    def arm(self, point: str, chance: float, kind: str = "") -> None:
        """Let the engine act at a point, at changes of a kind where one is given."""
        (self._points / point).write_text(f"{chance} {kind}")

    def disarm(self, point: str) -> None:
        """Not any more."""
        (self._points / point).unlink()

    def hits(self, point: str) -> int:
        """How often it has acted."""
        file = self._points / f"{point}.hits"
        return len(file.read_text().splitlines()) if file.exists() else 0


@contextmanager
def victim(folder: Path, models: Path, store: str) -> Iterator[Victim]:
    """One on a store of STORES, once it listens. It keeps its port whatever dies."""
    points = folder / "points"
    points.mkdir()
    with store_of(store, folder) as url:
        settings = SMALL | {
            "NTM_PORT": str(free_port()),
            "NTM_MODELS": str(models),
            "NTM_STORE": url,
            "CRASH_POINTS": str(points),
            "PYTHONPATH": str(ROOT),
        }
        log = folder / "server.log"
        command = [sys.executable, "-m", "tests.service.crash.serve"]
        with open(log, "wb") as output:
            process = subprocess.Popen(
                command, env=environ(**settings), stdout=output, stderr=output,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        server = Server(process, log)
        try:
            server.wait_until_listening()
            yield Victim(server, points)
        finally:
            if process.poll() is None:
                server.stop()


@contextmanager
def store_of(kind: str, folder: Path) -> Iterator[str]:
    """The URL of a SQLite file, or of a Redis that keeps what it acknowledges."""
    if kind == "sqlite":
        yield f"sqlite://{file_of(folder)}"
        return
    with running(folder / "redis") as redis:
        yield redis.url


def file_of(folder: Path) -> Path:
    """Where the SQLite file is."""
    return folder / "sessions.db"
