"""What a Redis or Valkey server must be set to, so that an acknowledged commit is on its disk."""

from __future__ import annotations

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from service.store.store import Room

REQUIRED = {
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",  # "yes" leaves the fsync out while the log is rewritten
    "maxmemory-policy": "noeviction",
}
TRUST = "NTM_REDIS_TRUST_DURABILITY=1"


class StoreRefused(ValueError):
    """A store that cannot keep what is promised of it. Says what was expected and what it has."""


class NotReady(Exception):
    """A server that is loading its data, or follows another one. It may be ready later."""


def require_durability(durability: str) -> None:
    """Raises StoreRefused for what loses commits that other servers were told of."""
    if durability != "sync":
        raise StoreRefused(
            f"NTM_DURABILITY={durability}: expected sync with a Redis store, which other servers "
            "share: they would build on commits that can still be lost"
        )


async def require_durable(connection: AbstractConnection, trust: bool) -> dict[str, str]:
    """What INFO tells of a server that keeps what it acknowledges.

    trust: believe it of a server that does not tell. Raises StoreRefused and NotReady.
    """
    info = parsed(await _ask(connection, "INFO"))
    if info.get("loading", "0") != "0":
        raise NotReady("it is loading its data")
    if info.get("role", "master") != "master":
        raise NotReady("it is a replica")
    told = {
        "appendonly": {"0": "no", "1": "yes"}.get(info.get("aof_enabled", "")),
        "maxmemory-policy": info.get("maxmemory_policy"),
    }
    for name, wanted in REQUIRED.items():
        answer = await _ask(connection, "CONFIG", "GET", name)
        value = _text(answer[1]) if isinstance(answer, list) and len(answer) == 2 else None
        value = told.get(name) if value is None else value
        if value is None and not trust:
            raise StoreRefused(
                f"Redis does not tell its {name} (CONFIG GET is not allowed), expected {wanted}; "
                f"where it is set so, {TRUST} says it"
            )
        if value is not None and value != wanted:
            raise StoreRefused(f"Redis has {name} {value}, expected {wanted}")
    return info


async def _ask(connection: AbstractConnection, *command: str) -> object:
    """None where the server refuses to answer."""
    await connection.send_command(*command, check_health=False)
    try:
        return await connection.read_response()
    except ResponseError:
        return None


def room_of(info: dict[str, str]) -> Room:
    """What INFO tells of a server's memory. Without maxmemory there is no limit."""
    used, limit = int(info.get("used_memory", "0")), int(info.get("maxmemory", "0"))
    return Room(used, max(0, limit - used), limit) if limit else Room(used)


def parsed(info: object) -> dict[str, str]:
    """What INFO tells, by name."""
    lines = _text(info).splitlines() if isinstance(info, bytes | str) else []
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
