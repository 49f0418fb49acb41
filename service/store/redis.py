"""Sessions in Redis or Valkey, which several servers share.

A session is a handful of keys in one hash slot. Its changes are compared and written by a script
in the server (redis_commit.lua), a tick's in one transaction; what lists sessions stands apart
(redis_index.py). Nothing rests on what this process remembers: the script compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha1
from pathlib import Path as File
from typing import Any

from redis.exceptions import ResponseError

from service.store.redis_bell import RedisBell
from service.store.redis_change import command_of, gone_of, outcome_of
from service.store.redis_check import require_durability, room_of
from service.store.redis_format import (
    NO_STATE,
    Unreadable,
    checkpoint_of,
    keys_of,
    point_of,
    record_of,
    row_of,
    with_state,
)
from service.store.redis_index import (
    GHOST_S,
    Entry,
    Index,
    assign,
    enter,
    new_entry,
    tag_of,
    withdraw,
)
from service.store.redis_link import Link
from service.store.redis_path import Path, path_of, stored_of
from service.store.redis_server import Command
from service.store.store import (
    Change,
    Checkpoint,
    Damaged,
    Gone,
    Outcome,
    Record,
    Retention,
    Room,
    SessionKey,
    SessionRow,
    Stored,
    StoreUnavailable,
)

TIMEOUT_S = 5.0


async def open_redis(
    url: str,
    durability: str = "sync",
    retention: Retention | None = None,
    *,
    trust_durability: bool = False,
    timeout_s: float = TIMEOUT_S,
    password_file: str = "",
) -> RedisStore:
    """The store at a redis:// or rediss:// URL, one server or a cluster.

    trust_durability: take a server that does not tell its settings. timeout_s: of one call,
    reconnecting included. password_file: what the URL does not say. Raises StoreRefused and
    StoreUnavailable.
    """
    require_durability(durability)
    scripts = [File(__file__).with_name(f"redis_{name}.lua").read_text() for name in SCRIPTS]
    link = Link(url, scripts, timeout_s, trust_durability, password_file)
    try:
        await link.open()
    except BaseException:
        await link.close()
        raise
    return RedisStore(link, scripts, retention or Retention())


SCRIPTS = ("commit", "read")


class RedisStore:
    """A `Store` in Redis."""

    name = "redis"
    shared = True

    def __init__(self, link: Link, scripts: Sequence[str], retention: Retention) -> None:
        self._link, self._index, self._retention = link, Index(link), retention
        self.bell = RedisBell(link)
        self._commit, self._read = (sha1(source.encode()).hexdigest() for source in scripts)

    async def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        """See `Store`."""
        if not changes:
            return []
        entries = [new_entry(change.row.key) if _creates(change) else None for change in changes]
        listing = [
            command
            for change, entry in zip(changes, entries, strict=True)
            for command in (enter(entry, _tag(change), change.row.expires_at) if entry else ())
        ]
        await self._index.write(listing)
        commands = [
            command_of(self._commit, change, entry.born if entry else "", self._retention)
            for change, entry in zip(changes, entries, strict=True)
        ]
        answers = await self._link.commit(commands)
        with suppress(StoreUnavailable):  # it is committed; what is not listed aright is mended
            await self._relist(changes, entries, answers)
        return [outcome_of(answer) for answer in answers]

    async def load(self, key: SessionKey) -> Stored | Gone | Damaged:
        """See `Store`."""
        found = await self._ask(key, "load", self._retention.replies)
        if not isinstance(found, list):
            return found
        try:
            stored = stored_of(found, self._retention.replies)
        except Unreadable as error:
            return Damaged(str(error))
        await self._index.mend(stored.row, found[5].decode())
        return stored

    async def row(self, key: SessionKey) -> SessionRow | Gone | Damaged:
        """See `Store`."""
        found = await self._ask(key, "row")
        if not isinstance(found, list):
            return found
        try:
            return row_of(found[0])
        except Unreadable as error:
            return Damaged(str(error))

    async def at(
        self,
        key: SessionKey,
        *,
        step: int | None = None,
        revision: int | None = None,
        snapshot: str | None = None,
    ) -> Stored | Gone | Damaged | None:
        """See `Store`."""
        before = None
        while True:
            found = await self._ask(key, "all")
            if not isinstance(found, list):
                return found
            try:
                path = path_of(found, step, revision, snapshot)
                stored = path and await self._follow(key, path, row_of(found[0]))
            except Unreadable as error:
                return Damaged(str(error))
            if path is None or stored is not None:
                return stored
            if path == before:
                return Damaged("the checkpoint before this point is missing")
            before = path  # it was dropped since, or the session began anew: look again

    async def history(
        self, key: SessionKey, before: int | None, limit: int
    ) -> list[Record] | Gone | Damaged:
        """See `Store`."""
        found = await self._ask(key, "history", "" if before is None else before, limit)
        if not isinstance(found, list):
            return found
        try:
            return [record_of(data) for data in found[1]]
        except Unreadable as error:
            return Damaged(str(error))

    async def snapshots(self, key: SessionKey) -> list[Checkpoint] | Gone | Damaged:
        """See `Store`."""
        found = await self._ask(key, "points")
        if not isinstance(found, list):
            return found
        try:
            points = [point_of(text) for text in found[1]]
            return [checkpoint_of(point.meta) for point in points if point.mark.name is not None]
        except Unreadable as error:
            return Damaged(str(error))

    async def rows(
        self, tenant: str, after: str | None, limit: int, model: str | None
    ) -> list[SessionRow]:
        """See `Store`. Damaged sessions are left out; asking for one tells."""
        return await self._index.rows(tenant, after, limit, model)

    async def expired(self, now: float, limit: int) -> list[SessionRow]:
        """See `Store`. One that was returned is returned again until it has ended."""
        return await self._index.expired(now, limit)

    async def count(self, model: tuple[str, str] | None = None) -> int:
        """See `Store`."""
        return await self._index.count(model)

    async def usage(self, tenant: str) -> dict[tuple[str, str], int]:
        """See `Store`."""
        return await self._index.usage(tenant)

    async def tenants(self) -> list[str]:
        """See `Store`."""
        return await self._index.tenants()

    async def room(self) -> Room | None:
        """See `Store`: the memory of the server that is fullest, and its maxmemory."""
        rooms = [room_of(info) for info in await self._link.infos("memory")]
        return min(rooms, key=lambda room: (room.free is None, room.free, -room.used), default=None)

    async def close(self) -> None:
        """See `Store`."""
        await self.bell.close()
        await self._link.close()

    async def _relist(
        self, changes: Sequence[Change], entries: Sequence[Entry | None], answers: Sequence[Any]
    ) -> None:
        """Bring the lists to what was committed."""
        commands: list[Command] = []
        gone: list[Entry] = []
        for change, entry, answer in zip(changes, entries, answers, strict=True):
            committed, tag = isinstance(answer, list) and answer[0] == 0, _tag(change)
            if entry is not None:
                if not committed:
                    gone.append(entry)
                elif entry.is_older(GHOST_S / 2):  # somebody may have taken it for a ghost
                    commands += enter(entry, tag, change.row.expires_at)
            elif committed and change.ended is not None:
                gone.append(Entry(*change.row.key, answer[2].decode()))
            elif committed and answer[1] != tag.encode():
                held = Entry(*change.row.key, answer[2].decode())
                commands += [*assign(held, tag), *withdraw(held, answer[1].decode())]
        await self._index.write(commands)
        await self._index.leave(gone)

    async def _follow(self, key: SessionKey, path: Path, row: SessionRow) -> Any:
        """The path with its checkpoint's state; None where that is not there."""
        if path.base.digest == NO_STATE:
            return Stored(row, with_state(path.base, None), path.records, [])
        found = await self._ask(key, "state", path.base.digest)
        if not isinstance(found, list):
            return found
        if found[1] is None or row_of(found[0]).incarnation != row.incarnation:
            return None
        return Stored(row_of(found[0]), with_state(path.base, found[1]), path.records, [])

    async def _ask(self, key: SessionKey, *what: str | int) -> list[Any] | Gone | Damaged:
        """What the reading script answers of a session that lives."""
        keys = keys_of(key)
        command = Command(keys[0], ("EVALSHA", self._read, len(keys), *keys, *what))
        (answer,) = await self._link.ask(command)
        if isinstance(answer, ResponseError):
            return Damaged(f"Redis: {answer}")
        return answer if answer[0] is not None else gone_of(answer[1])


def _creates(change: Change) -> bool:
    return change.expected is None


def _tag(change: Change) -> str:
    return tag_of(change.row.model, change.row.version)
