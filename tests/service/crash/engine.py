"""The engine's process with points at which it kills itself, which only a test can arm.

CRASH_POINTS names a folder. For each file of a point's name in it, "0.02" or "0.02 migrate", the
engine dies at that point with that probability, where it is told of a change of that kind, and
leaves a line in <point>.hits.

drop is no point to die at: the store forgets one commit, says that it did not, and is unarmed.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service.engine import process
from service.store.open import open_store as open_real_store
from service.store.store import Change, Committed, Outcome, Store

POINTS = ("before_commit", "committed", "mid_reply", "mid_checkpoint")


def reach(point: str, kinds: frozenset[str] = frozenset()) -> bool:
    """Is it time to die here? Then it has been noted already."""
    folder = Path(os.environ["CRASH_POINTS"])
    try:
        chance, *wanted = (folder / point).read_text().split()
    except (FileNotFoundError, ValueError):
        return False
    if (wanted and kinds.isdisjoint(wanted)) or random.random() >= float(chance):
        return False
    with open(folder / f"{point}.hits", "a") as hits:
        hits.write("hit\n")
    return True


def disarm(point: str) -> None:
    """Not again."""
    (Path(os.environ["CRASH_POINTS"]) / point).unlink(missing_ok=True)


def die() -> None:
    """As hard as a process can."""
    os.kill(os.getpid(), signal.SIGKILL)


def kinds_of(changes: Sequence[Change]) -> frozenset[str]:
    """What the changes do to their sessions."""
    return frozenset(_kind(change) for change in changes)


def _kind(change: Change) -> str:
    if change.record is not None:
        return change.record.kind
    if change.ended is not None:
        return "end"
    return "snapshot" if change.checkpoint and change.checkpoint.name else "checkpoint"


class CrashingStore:
    """A real store, around whose commits the process may die."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        kinds = kinds_of(changes)
        if reach("before_commit", kinds):
            die()
        if any(change.checkpoint for change in changes) and reach("mid_checkpoint", kinds):
            asyncio.get_running_loop().call_later(random.uniform(0, 0.003), die)
        if kinds == {"step"} and reach("drop"):
            disarm("drop")
            return [Committed() for _ in changes]
        outcomes = await self._store.commit(changes)
        if reach("committed", kinds):
            die()
        return outcomes


async def open_store(settings: Any) -> Any:
    """The store of the settings, made to crash."""
    return CrashingStore(await open_real_store(settings))


def cut_replies() -> None:
    """Let a frame of replies be cut in its middle by the process's death."""
    connection: Any = process.FrontConnection
    whole = connection.connection_made

    def connection_made(self: Any, transport: Any) -> None:
        whole(self, transport)
        write = transport.write

        class Cutting:
            def __getattr__(self, name: str) -> Any:
                return getattr(transport, name)

            def write(self, data: bytes) -> None:
                if reach("mid_reply"):
                    os.write(transport.get_extra_info("socket").fileno(), data[: len(data) // 2])
                    die()
                write(data)

        self._transport = Cutting()

    connection.connection_made = connection_made


if __name__ == "__main__":
    process.open_store = open_store
    cut_replies()
    sys.exit(process.main())
