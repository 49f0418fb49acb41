"""A process that commits steps until it is killed: python -m tests.service.store.sqlite_child

Each acknowledged step is told in a line of its own on stdout: the session and its step.
"""

from __future__ import annotations

import asyncio
import os
import sys

from service.store.sqlite import Durability, open_sqlite
from service.store.store import Gone, SessionRow
from tests.service.store.contract import creation, made, row_of, step
from tests.service.store.sqlite_store import SMALL_LOG

SESSIONS = 6
EVERY = 3  # steps a checkpoint


def tell(line: str) -> None:
    os.write(1, f"{line}\n".encode())


async def work(path: str, kind: str, sync: str, sessions: int, steps: int) -> None:
    """Step all sessions at once, each so many times; 0: without end."""
    durability = Durability(kind, sync == "full")  # pyright: ignore[reportArgumentType]
    store = await open_sqlite(path, durability, log_bytes=SMALL_LOG)
    tell("ready")
    rows: list[SessionRow] = []
    for at in range(sessions):
        row = await store.row(row_of(f"s{at}").key)
        if isinstance(row, Gone):
            row = await made(store, creation(row_of(f"s{at}"), state=b"at 0"))
        assert isinstance(row, SessionRow)
        rows.append(row)
        tell(f"{row.id} {row.step}")

    async def client(row: SessionRow) -> None:
        taken = 0
        while not steps or taken < steps:
            at, taken = row.step + 1, taken + 1
            state = b"at %d" % at if at % EVERY == 0 else None
            row = await made(store, step(row, key=f"k{at}", state=state))
            tell(f"{row.id} {row.step}")

    await asyncio.gather(*map(client, rows))
    tell("closing")
    await store.close()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], sys.argv[3], *map(int, sys.argv[4:])))
