"""How many bytes sessions take, where they are."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import NamedTuple

from tests.bench.place import Place
from tests.service.store.redis_server import RedisServer


class Sizes(NamedTuple):
    """engine: resident memory of the engine's process; store: what the store has in use."""

    engine: int
    store: int


def sizes_of(places: list[Place]) -> dict[str, Sizes]:
    """Of every server as it stands, by name."""
    return {place.name: Sizes(_resident(place), _stored(place)) for place in places}


def _resident(place: Place) -> int:
    (pid,) = place.server.children("service.engine.process")
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def _stored(place: Place) -> int:
    if place.redis is not None:
        return used_memory(place.redis)
    return pages_in_use(place.file) if place.file.exists() else 0


def used_memory(redis: RedisServer) -> int:
    """What Redis says it has allocated."""
    found = re.search(rb"used_memory:(\d+)", redis.ask("INFO", "memory"))
    assert found
    return int(found[1])


def pages_in_use(file: Path) -> int:
    """Bytes of a SQLite file's pages that are not free, those still in its log included."""
    db = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        size, count, free = (
            db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_size", "page_count", "freelist_count")
        )
    finally:
        db.close()
    return size * (count - free)
