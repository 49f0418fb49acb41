"""What lists sessions: by tenant, by when they expire, and by model, each in a key of its own.

An entry is made before its session and removed after it, and no two are ever alike, so removing
one never hides another session of the same id. What a crash between the two leaves is a ghost:
whoever meets it looks its session up, and removes it once nobody can still be about to create it.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from time import time
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from service.store.redis_format import Unreadable, keys_of, row_of
from service.store.redis_link import Link
from service.store.redis_server import Command
from service.store.store import SessionKey, SessionRow

EXPIRY = "ntm:expiry"  # sorted set: an entry of every session, by when it is next looked at
MODELS = "ntm:models"  # set: every model and version that ever had a session
TENANTS = "ntm:tenants"  # set: everybody who ever had one
GHOST_S = 60.0  # creating a session takes far less
PAGE = 64


class Entry(NamedTuple):
    """A session as the lists name it. born: when it was entered, in milliseconds, and a number."""

    tenant: str
    id: str
    born: str

    @property
    def listed(self) -> str:
        """In its tenant's list, which is in order of id."""
        return f"{self.id}\0{self.born}"

    @property
    def full(self) -> str:
        """In the lists of all tenants."""
        return f"{quote(self.tenant, safe='')}\0{self.listed}"

    def is_older(self, age_s: float) -> bool:
        """Was it entered so long ago?"""
        return int(self.born.split("-")[0]) / 1000 + age_s < time()


def new_entry(key: SessionKey) -> Entry:
    """An entry for a session about to be created."""
    return Entry(key.tenant, key.id, f"{time() * 1000:.0f}-{secrets.token_hex(4)}")


def tag_of(model: str, version: str) -> str:
    """A model and version in one word."""
    return f"{quote(model, safe='')}/{quote(version, safe='')}"


def model_of(tag: str) -> tuple[str, str]:
    """The model and version that a tag names."""
    model, version = tag.split("/")
    return unquote(model), unquote(version)


class Index:
    """The lists, over a link. Every method may raise StoreUnavailable."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def write(self, commands: Sequence[Command]) -> None:
        """Run commands that may be run twice."""
        await self._link.ask(*commands)

    async def leave(self, entries: Sequence[Entry]) -> None:
        """List sessions no more."""
        if not entries:
            return
        (tags,) = await self._link.ask(Command(MODELS, ("SMEMBERS", MODELS)))
        leaving: list[Command] = []
        for entry in entries:
            tenant = _tenant(entry.tenant)
            leaving += [one for tag in tags for one in withdraw(entry, tag.decode())]
            leaving.append(Command(tenant, ("ZREM", tenant, entry.listed)))
            leaving.append(Command(EXPIRY, ("ZREM", EXPIRY, entry.full)))
        await self.write(leaving)

    async def mend(self, row: SessionRow, born: str) -> None:
        """Enter a session that lives and is not listed, as after the loss of one server of many."""
        entry = Entry(row.tenant, row.id, born)
        (score,) = await self._link.ask(Command(EXPIRY, ("ZSCORE", EXPIRY, entry.full)))
        if score is None:
            await self.write(enter(entry, tag_of(row.model, row.version), row.expires_at))

    async def rows(
        self, tenant: str, after: str | None, limit: int, model: str | None
    ) -> list[SessionRow]:
        """A tenant's sessions in order of id. Damaged ones are left out."""
        key, least = _tenant(tenant), "-" if after is None else f"({after}\x01"
        found: list[SessionRow] = []
        while len(found) < limit:
            page = max(limit - len(found), PAGE)
            command = Command(key, ("ZRANGEBYLEX", key, least, "+", "LIMIT", 0, page))
            (texts,) = await self._link.ask(command)
            rows = await self._living([_listed(tenant, text.decode()) for text in texts])
            found += [row for row in rows if row and model in (None, row.model)]
            if len(texts) < page:
                break
            least = f"({texts[-1].decode()}"
        return found[:limit]

    async def expired(self, now: float, limit: int) -> list[SessionRow]:
        """Sessions past their TTL. Those that were stepped since they were put off are put off
        to when they are due."""
        found: list[SessionRow] = []
        skip = 0
        while len(found) < limit:
            page = limit - len(found)
            span = ("-inf", repr(float(now)), "LIMIT", skip, page)
            (texts,) = await self._link.ask(Command(EXPIRY, ("ZRANGEBYSCORE", EXPIRY, *span)))
            entries = [_full(text.decode()) for text in texts]
            later: list[Command] = []
            for entry, row in zip(entries, await self._living(entries), strict=True):
                if row and row.expires_at <= now:
                    found.append(row)
                elif row:
                    due = repr(row.expires_at)
                    later.append(Command(EXPIRY, ("ZADD", EXPIRY, "XX", due, entry.full)))
            await self.write(later)
            if len(texts) < page:
                break
            skip += len(texts) - len(later)
        return found

    async def count(self, model: tuple[str, str] | None) -> int:
        """Live sessions, and the ghosts that nobody has met yet."""
        command = Command(EXPIRY, ("ZCARD", EXPIRY))
        if model is not None:
            models = _sessions(tag_of(*model))
            command = Command(models, ("SCARD", models))
        (number,) = await self._link.ask(command)
        return int(number)

    async def usage(self, tenant: str) -> dict[tuple[str, str], int]:
        """A tenant's live sessions by model and version, and its ghosts."""
        (tags,) = await self._link.ask(Command(MODELS, ("SMEMBERS", MODELS)))
        places = {tag.decode(): _held(tenant, tag.decode()) for tag in tags}
        if not places:
            return {}
        asked = [Command(place, ("SCARD", place)) for place in places.values()]
        numbers = await self._link.ask(*asked)
        return {
            model_of(tag): int(number)
            for tag, number in zip(places, numbers, strict=True)
            if number
        }

    async def tenants(self) -> list[str]:
        """Everybody who ever had a session."""
        (names,) = await self._link.ask(Command(TENANTS, ("SMEMBERS", TENANTS)))
        return sorted(unquote(name.decode()) for name in names)

    async def _living(self, entries: Sequence[Entry]) -> list[SessionRow | None]:
        """The row of each entry; None for a ghost, removed once it is old, and a damaged one."""
        places = [keys_of(SessionKey(entry.tenant, entry.id))[0] for entry in entries]
        commands = [Command(place, ("HMGET", place, "row", "born")) for place in places]
        answers = await self._link.ask(*commands)
        rows: list[SessionRow | None] = []
        ghosts: list[Entry] = []
        for entry, answer in zip(entries, answers, strict=True):
            lives = not isinstance(answer, list) or answer[1] == entry.born.encode()
            rows.append(_readable(answer) if lives else None)
            if not lives and entry.is_older(GHOST_S):
                ghosts.append(entry)
        await self.leave(ghosts)
        return rows


def enter(entry: Entry, tag: str, expires_at: float) -> list[Command]:
    """List a session."""
    tenant = _tenant(entry.tenant)
    return [
        Command(EXPIRY, ("ZADD", EXPIRY, repr(float(expires_at)), entry.full)),
        Command(tenant, ("ZADD", tenant, 0, entry.listed)),
        Command(TENANTS, ("SADD", TENANTS, quote(entry.tenant, safe=""))),
        *assign(entry, tag),
    ]


def assign(entry: Entry, tag: str) -> list[Command]:
    """Count a session to a model and version."""
    models, held = _sessions(tag), _held(entry.tenant, tag)
    return [
        Command(models, ("SADD", models, entry.full)),
        Command(held, ("SADD", held, entry.listed)),
        Command(MODELS, ("SADD", MODELS, tag)),
    ]


def withdraw(entry: Entry, tag: str) -> list[Command]:
    """Count a session to a model and version no more."""
    models, held = _sessions(tag), _held(entry.tenant, tag)
    return [
        Command(models, ("SREM", models, entry.full)),
        Command(held, ("SREM", held, entry.listed)),
    ]


def _tenant(tenant: str) -> str:
    return f"ntm:tenant:{quote(tenant, safe='')}"


def _sessions(tag: str) -> str:
    return f"ntm:model:{tag}"


def _held(tenant: str, tag: str) -> str:
    return f"ntm:held:{quote(tenant, safe='')}:{tag}"


def _listed(tenant: str, text: str) -> Entry:
    return Entry(tenant, *text.rsplit("\0", 1))


def _full(text: str) -> Entry:
    tenant, rest = text.split("\0", 1)
    return _listed(unquote(tenant), rest)


def _readable(answer: Any) -> SessionRow | None:
    try:
        return row_of(answer[0]) if isinstance(answer, list) and answer[0] else None
    except Unreadable:
        return None
