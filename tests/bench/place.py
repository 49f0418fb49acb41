"""A server on a store, as one of several that are measured in turns."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from export.bundle import Bundle
from tests.service.serving import Server, served
from tests.service.store.redis_server import RedisServer, running


class Place(NamedTuple):
    """settings: the server's NTM_*; redis: its Redis where it has one."""

    name: str
    folder: Path
    settings: dict[str, str]
    server: Server
    redis: RedisServer | None

    @property
    def url(self) -> str:
        """Where the server listens."""
        return self.server.url

    def cpu_ms(self) -> dict[str, float]:
        """Milliseconds of processor time used so far, by part, which other work does not change
        as it changes the time on the clock."""
        parts = {"front": "service.front", "engine": "service.engine.process"}
        used = {part: sum(map(_ticks, self.server.children(m))) for part, m in parts.items()}
        if self.redis is not None and self.redis.process is not None:
            used["redis"] = _ticks(self.redis.process.pid)
        return {part: ticks * 1000 / os.sysconf("SC_CLK_TCK") for part, ticks in used.items()}

    @property
    def file(self) -> Path:
        """The SQLite file where it has one."""
        return self.folder / "sessions.db"


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])  # in user and in system mode


def opened(
    name: str, settings: dict[str, str], bundle: Bundle, folder: Path, stack: ExitStack
) -> Place:
    """Start a server, with a Redis of its own where `settings` say so; `stack` ends both."""
    folder.mkdir()
    store, redis = settings.get("NTM_STORE", f"sqlite://{folder / 'sessions.db'}"), None
    if store == "redis":
        redis = stack.enter_context(running(folder / "redis"))
        store = redis.url
    settings = settings | {"NTM_STORE": store}
    server = stack.enter_context(served(folder, bundle.folder, **settings))
    return Place(name, folder, settings, server, redis)
