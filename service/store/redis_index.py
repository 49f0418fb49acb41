"""What lists sessions: by tenant, by when they expire, and by model, each in keys of its own.

An entry is made before its session and removed after it, and names its incarnation, so that
removing one never hides another session of the same id. What is left by a crash between the two
is a ghost: whoever meets it looks its session up, and removes it once nobody can still be about
to create that session.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote, unquote

from service.store.redis_server import Command
from service.store.store import SessionKey, SessionRow

EXPIRY = "ntm:expiry"  # sorted set: an entry of every session, by when it is next looked at
MODELS = "ntm:models"  # set: every model and version that ever had a session
GHOST_S = 60.0  # creating a session takes far less


class Entry(NamedTuple):
    """A session as the lists name it. born: when it was entered, in milliseconds."""

    tenant: str
    id: str
    incarnation: str
    born: str

    @property
    def key(self) -> SessionKey:
        """The session's key."""
        return SessionKey(self.tenant, self.id)

    @property
    def listed(self) -> str:
        """In its tenant's list, which is in order of id."""
        return "\0".join(self[1:])

    @property
    def full(self) -> str:
        """In the lists of all tenants."""
        return "\0".join((quote(self.tenant, safe=""), *self[1:]))

    def is_old(self, now: float) -> bool:
        """Is it past being created?"""
        return int(self.born) / 1000 + GHOST_S < now

    def names(self, row: SessionRow | None) -> bool:
        """Is it this session's?"""
        return row is not None and row.incarnation == self.incarnation


def entry_of(row: SessionRow, born: str) -> Entry:
    """The entry of a session."""
    return Entry(row.tenant, row.id, row.incarnation, born)


def listed_entry(tenant: str, text: str) -> Entry:
    """The entry of a tenant's list."""
    name, incarnation, born = text.rsplit("\0", 2)
    return Entry(tenant, name, incarnation, born)


def full_entry(text: str) -> Entry:
    """The entry of a list of all tenants."""
    tenant, rest = text.split("\0", 1)
    return listed_entry(unquote(tenant), rest)


def tenant_list(tenant: str) -> str:
    """The key of a tenant's list."""
    return f"ntm:tenant:{quote(tenant, safe='')}"


def model_tag(model: str, version: str) -> str:
    """A model and version in one word."""
    return f"{quote(model, safe='')}/{quote(version, safe='')}"


def model_set(tag: str) -> str:
    """The key of the sessions of a model and version."""
    return f"ntm:model:{tag}"


def enter(entry: Entry, tag: str, expires_at: float) -> list[Command]:
    """List a session. It is looked at for its expiry no later than it was to be before."""
    tenant = tenant_list(entry.tenant)
    return [
        Command(EXPIRY, ("ZADD", EXPIRY, "LT", repr(expires_at), entry.full)),
        Command(tenant, ("ZADD", tenant, 0, entry.listed)),
        *assign(entry, tag),
    ]


def assign(entry: Entry, tag: str) -> list[Command]:
    """Count a session to a model and version."""
    models = model_set(tag)
    return [
        Command(models, ("SADD", models, entry.full)),
        Command(MODELS, ("SADD", MODELS, tag)),
    ]


def withdraw(entry: Entry, tag: str) -> Command:
    """Count a session to a model and version no more."""
    models = model_set(tag)
    return Command(models, ("SREM", models, entry.full))


def leave(entry: Entry, tags: Iterable[str]) -> list[Command]:
    """List a session no more. tags: of the models it may be counted to."""
    tenant = tenant_list(entry.tenant)
    return [
        *(withdraw(entry, tag) for tag in tags),
        Command(tenant, ("ZREM", tenant, entry.listed)),
        Command(EXPIRY, ("ZREM", EXPIRY, entry.full)),
    ]


def postpone(entry: Entry, expires_at: float) -> Command:
    """Look at a session later, unless it has ended."""
    return Command(EXPIRY, ("ZADD", EXPIRY, "XX", repr(expires_at), entry.full))


def after(tenant: str, name: str | None, limit: int) -> Command:
    """A tenant's entries in order of id, those behind a name."""
    key = tenant_list(tenant)
    least = "-" if name is None else f"({name}\x01"
    return Command(key, ("ZRANGEBYLEX", key, least, "+", "LIMIT", 0, limit))


def due(now: float, skip: int, limit: int) -> Command:
    """Entries to look at by now, the earliest first."""
    return Command(EXPIRY, ("ZRANGEBYSCORE", EXPIRY, "-inf", repr(now), "LIMIT", skip, limit))
