"""Sessions in Redis or Valkey, which several servers share.

A session is a handful of keys in one hash slot. Its changes are compared and written by a script
in the server (redis_commit.lua), a tick's in one transaction; what lists sessions stands apart
(redis_index.py). Nothing here trusts what this process remembers: the script compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha1
from pathlib import Path
from time import time
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace
from redis.exceptions import ResponseError

from service.store import redis_index as index
from service.store.redis_check import require_durability
from service.store.redis_format import (
    Line,
    Meta,
    Point,
    Unreadable,
    checkpoint_of,
    digest_of,
    keys_of,
    point_of,
    record_of,
    row_of,
    sealed,
    with_state,
)
from service.store.redis_link import Link
from service.store.redis_server import Command
from service.store.store import (
    Change,
    Checkpoint,
    Committed,
    Damaged,
    Gone,
    Outcome,
    Record,
    Replayed,
    Retention,
    SessionKey,
    SessionRow,
    Stale,
    Stored,
    StoreUnavailable,
)
from service.store.timeline import Mark, base_of, leads_to, revision_at

TIMEOUT_S = 5.0
COMMITTED, REPLAYED, STALE = 0, 1, 2


async def open_redis(
    url: str,
    durability: str = "sync",
    retention: Retention | None = None,
    *,
    trust_durability: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> RedisStore:
    """The store at a redis:// or rediss:// URL, one server or a cluster.

    trust_durability: take a server that does not tell its settings. timeout_s: for one call,
    reconnecting included. Raises StoreRefused and StoreUnavailable.
    """
    require_durability(durability)
    here = Path(__file__).parent
    scripts = [(here / f"redis_{name}.lua").read_text() for name in ("commit", "read")]
    link = Link(url, scripts, timeout_s, trust_durability)
    try:
        await link.open()
    except BaseException:
        await link.close()
        raise
    return RedisStore(link, scripts, retention or Retention())


class RedisStore:
    """A `Store` in Redis."""

    name = "redis"
    shared = True

    def __init__(self, link: Link, scripts: Sequence[str], retention: Retention) -> None:
        self._link, self._retention = link, retention
        self._commit, self._read = (sha1(source.encode()).hexdigest() for source in scripts)

    async def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        """See `Store`. A change that moves a session to another model is of kind "migrate"."""
        born = str(int(time() * 1000))
        listed = [command for change in changes for command in _before(change, born)]
        if listed:
            await self._link.run(listed, again=True)
        commands = [self._command(change, born) for change in changes]
        answers = await self._link.run(commands, whole=True) if commands else []
        unlisted = [
            command
            for change, answer in zip(changes, answers, strict=True)
            for command in _after(change, answer, born)
        ]
        if unlisted:
            with suppress(StoreUnavailable):  # what is left are ghosts
                await self._link.run(unlisted, again=True)
        return [_outcome(answer) for answer in answers]

    async def load(self, key: SessionKey) -> Stored | Gone | Damaged:
        """See `Store`."""
        found = await self._ask(key, "load", self._retention.replies)
        if not isinstance(found, list):
            return found
        try:
            return _stored(found, self._retention.replies)
        except Unreadable as error:
            return Damaged(str(error))

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
            found = await self._ask(key, "marks")
            if not isinstance(found, list):
                return found
            try:
                points = [point_of(text) for text in found[1]]
                path = _path(points, _marks(found[2]), step, revision, snapshot)
                if path is None:
                    row_of(found[0])
                    return None
                stored = await self._follow(key, path, found[0])
            except Unreadable as error:
                return Damaged(str(error))
            if stored is not None:
                return stored
            if path == before:
                return Damaged("what leads to this point is missing")
            before = path  # some of it was dropped since, or the session began anew: look again

    async def history(
        self, key: SessionKey, before: int | None, limit: int
    ) -> list[Record] | Gone | Damaged:
        """See `Store`."""
        if before is not None and before <= 1:
            before, limit = 1, 0
        start = "+" if before is None else before - 1
        found = await self._ask(key, "history", start, limit)
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
        """See `Store`. Damaged sessions are left out: asking for them tells."""
        found: list[SessionRow] = []
        while len(found) < limit:
            page = max(limit - len(found), PAGE)
            (texts,) = await self._link.run([index.after(tenant, after, page)], again=True)
            entries = [index.listed_entry(tenant, text.decode()) for text in texts]
            rows = await self._living(entries)
            found += [row for row in rows if row and (model is None or row.model == model)]
            if len(texts) < page:
                break
            after = entries[-1].id
        return found[:limit]

    async def expired(self, now: float, limit: int) -> list[SessionRow]:
        """See `Store`. Sessions that were stepped since are put off to when they are due."""
        found: list[SessionRow] = []
        skip = 0
        while len(found) < limit:
            page = limit - len(found)
            (texts,) = await self._link.run([index.due(now, skip, page)], again=True)
            entries = [index.full_entry(text.decode()) for text in texts]
            rows = await self._living(entries)
            found += [row for row in rows if row and row.expires_at <= now]
            later = [
                index.postpone(entry, row.expires_at)
                for entry, row in zip(entries, rows, strict=True)
                if row and row.expires_at > now
            ]
            if later:
                await self._link.run(later, again=True)
            if len(texts) < page:
                break
            skip += len(texts) - len(later)
        return found

    async def count(self, model: tuple[str, str] | None = None) -> int:
        """See `Store`. Sessions that a crash left half-created count for at most a minute longer
        than until they are met."""
        if model is None:
            command = Command(index.EXPIRY, ("ZCARD", index.EXPIRY))
        else:
            models = index.model_set(index.model_tag(*model))
            command = Command(models, ("SCARD", models))
        (number,) = await self._link.run([command], again=True)
        return int(number)

    async def close(self) -> None:
        """See `Store`."""
        await self._link.close()

    async def _follow(self, key: SessionKey, path: Path, row: bytes) -> Stored | Gone | None:
        """A checkpoint and the records from it on; None where they are not all there."""
        found = await self._ask(key, "path", path.base.digest, path.base.mark.revision + 1, path.to)
        if not isinstance(found, list):
            return found
        now, state, records = row_of(found[0]), found[1], found[2]
        begun_anew = now.incarnation != row_of(row).incarnation
        missing = state is None and path.base.digest != digest_of(None)
        if begun_anew or missing or len(records) != path.to - path.base.mark.revision:
            return None
        return Stored(now, with_state(path.base, state), [record_of(data) for data in records], [])

    async def _ask(self, key: SessionKey, *what: str | int) -> list[Any] | Gone | Damaged:
        """What the reading script answers of a session that lives."""
        keys = keys_of(key)
        command = Command(keys[0], ("EVALSHA", self._read, len(keys), *keys, *what))
        (answer,) = await self._link.run([command], again=True)
        if isinstance(answer, ResponseError):
            return Damaged(f"Redis: {answer}")
        return answer if answer[0] is not None else _gone(answer[1])

    async def _living(self, entries: Sequence[index.Entry]) -> list[SessionRow | None]:
        """The row of each entry; None for a ghost, removed once it is old, and a damaged one."""
        places = [keys_of(entry.key)[0] for entry in entries]
        commands = [Command(place, ("HGET", place, "row")) for place in places]
        answers = await self._link.run(commands, again=True) if commands else []
        rows: list[SessionRow | None] = []
        ghosts: list[index.Entry] = []
        for entry, answer in zip(entries, answers, strict=True):
            row = _readable(answer)
            rows.append(row if entry.names(row) else None)
            if (answer is None or row is not None) and not entry.names(row):
                ghosts.append(entry)
        await self._exorcise([ghost for ghost in ghosts if ghost.is_old(time())])
        return rows

    async def _exorcise(self, ghosts: Sequence[index.Entry]) -> None:
        if not ghosts:
            return
        (found,) = await self._link.run(
            [Command(index.MODELS, ("SMEMBERS", index.MODELS))], again=True
        )
        tags = [tag.decode() for tag in found]
        leaving = [command for ghost in ghosts for command in index.leave(ghost, tags)]
        await self._link.run(leaving, again=True)

    def _command(self, change: Change, born: str) -> Command:
        row, keys, kept = change.row, keys_of(change.row.key), self._retention
        checkpoint, record = change.checkpoint, change.record
        if checkpoint is None and change.expected is None:
            checkpoint = Checkpoint(row.revision, row.step, None)
        args = (
            *(change.expected or ("", 0)),
            change.ended or "",
            round(kept.tombstone_s * 1000),
            row.incarnation,
            row.revision,
            sealed(row),
            index.model_tag(row.model, row.version),
            born,
            *_record_args(record, row.fingerprint),
            *_checkpoint_args(checkpoint, row.fingerprint),
            kept.history_rows,
            kept.replies,
            kept.checkpoint_spacing,
        )
        return Command(keys[0], ("EVALSHA", self._commit, len(keys), *keys, *args))


class Path(NamedTuple):
    """From a checkpoint over the records behind it to a revision."""

    base: Point
    to: int


def _record_args(record: Record | None, spec: str) -> tuple[bytes | str | int, ...]:
    if record is None:
        return ("", 0, 0, 0, "")
    key = "" if record.key is None else f"={record.key}"
    line = sealed(Line(record, spec))
    return (line, record.revision, record.step, record.count, key)


def _checkpoint_args(checkpoint: Checkpoint | None, spec: str) -> tuple[bytes | str | int, ...]:
    if checkpoint is None:
        return ("", 0, 0, "", "", "")
    digest = digest_of(checkpoint.state)
    name = "" if checkpoint.name is None else f"={quote(checkpoint.name, safe='')}"
    meta = sealed(Meta(replace(checkpoint, state=None), digest, spec))
    return (digest, checkpoint.revision, checkpoint.step, name, meta, checkpoint.state or b"")


def _before(change: Change, born: str) -> list[Command]:
    """What lists a session before it is there."""
    row = change.row
    entry, tag = index.entry_of(row, born), index.model_tag(row.model, row.version)
    if change.expected is None:
        return index.enter(entry, tag, row.expires_at)
    return []


def _after(change: Change, answer: Any, born: str) -> list[Command]:
    """What is listed otherwise once the outcome is known."""
    row = change.row
    tag = index.model_tag(row.model, row.version)
    committed = isinstance(answer, list) and answer[0] == COMMITTED
    if change.expected is None:
        return [] if committed else index.leave(index.entry_of(row, born), [tag])
    if not committed:
        return []
    before, entered = answer[1].decode(), answer[2].decode()
    entry = index.entry_of(row, entered)
    if change.ended is not None:
        return index.leave(entry, {before, tag})
    return [] if before == tag else [*index.assign(entry, tag), index.withdraw(entry, before)]


def _outcome(answer: Any) -> Outcome:
    if isinstance(answer, ResponseError):
        return Damaged(f"Redis: {answer}")
    try:
        match answer[0]:
            case 0:
                return Committed()
            case 1:
                return Replayed(record_of(answer[1]))
            case 2:
                return Stale(row_of(answer[1]))
            case _:
                return _gone(answer[1])
    except Unreadable as error:
        return Damaged(str(error))


def _gone(reason: bytes | None) -> Gone:
    return Gone(None if reason is None else reason.decode())


def _readable(answer: Any) -> SessionRow | None:
    try:
        return row_of(answer) if isinstance(answer, bytes) else None
    except Unreadable:
        return None
