"""The store that the settings name. Each kind is imported only where it is used."""

from __future__ import annotations

from service.settings import Settings
from service.store.memory import MemoryStore
from service.store.store import Retention, Store

SQLITE = "sqlite://"
REDIS = ("redis://", "rediss://")


async def open_store(settings: Settings) -> Store:
    """Open what NTM_STORE names. Raises StoreUnavailable, or ValueError for a URL it cannot use."""
    retention = Retention(
        replies=settings.kept_replies,
        history_rows=settings.history_rows,
        tombstone_s=settings.tombstone_s,
    )
    if settings.store == "memory":
        return MemoryStore(retention)
    if settings.store.startswith(SQLITE):
        from service.store.sqlite import Durability, open_sqlite
        from service.store.sqlite_lock import HAND_OVER_S

        durability = Durability(
            settings.durability, settings.sqlite_sync == "full", settings.async_window_s
        )
        path = path_of(settings.store)
        return await open_sqlite(path, durability, retention, wait_s=HAND_OVER_S)
    if settings.store.startswith(REDIS):
        try:
            from service.store.redis import open_redis
        except ModuleNotFoundError as error:
            raise ValueError(
                f"NTM_STORE={settings.store.split(':')[0]}: the package {error.name} is missing; "
                "install the extra: pip install -e '.[redis]'"
            ) from None
        return await open_redis(
            settings.store,
            settings.durability,
            retention,
            trust_durability=settings.redis_trust_durability,
            password_file=settings.redis_password_file,
            timeout_s=settings.redis_timeout_s,
        )
    raise ValueError(f"NTM_STORE: there is no store {settings.store!r}")


def path_of(url: str) -> str:
    """The absolute path in sqlite:///absolute/path.db. Raises ValueError."""
    path = url.removeprefix(SQLITE)
    if not path.startswith("/") or path.endswith("/"):
        raise ValueError(f"expected sqlite:///absolute/path.db, got {url!r}")
    return path
