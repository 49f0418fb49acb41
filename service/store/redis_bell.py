"""What other servers do to sessions, heard by Redis' own publish and subscribe.

The committing script publishes an empty message on the channel named like the session's key. A
message may get lost with its connection, and in a cluster it takes its way through all servers:
so it only wakes, and who is woken reads what is committed.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from service.store.redis_check import NotReady, StoreRefused
from service.store.redis_format import keys_of
from service.store.redis_link import Link
from service.store.redis_server import Command
from service.store.store import Heard, SessionKey, StoreUnavailable

PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
ALIVE_S = 15.0  # without a message as long, the server is asked whether it is still there


class RedisBell:
    """A `Bell` over one connection, which is there while any session is followed."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._followed: dict[str, tuple[SessionKey, Heard]] = {}  # by channel
        self._connection: AbstractConnection | None = None
        self._listener: asyncio.Task[None] | None = None
        self._rung: list[Command] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def follow(self, key: SessionKey, heard: Heard) -> None:
        """See `Bell`."""
        channel = keys_of(key)[0]
        self._followed[channel] = (key, heard)
        if self._listener is None:
            self._listener = asyncio.ensure_future(self._listen())
        self._begin("SUBSCRIBE", channel)

    def unfollow(self, key: SessionKey) -> None:
        """See `Bell`."""
        channel = keys_of(key)[0]
        self._followed.pop(channel, None)
        self._begin("UNSUBSCRIBE", channel)
        if not self._followed and self._listener is not None:
            self._listener.cancel()
            self._listener = None

    def ring(self, key: SessionKey, told: bytes) -> None:
        """See `Bell`."""
        if not self._rung:
            self._keep(asyncio.ensure_future(self._publish()))
        channel = keys_of(key)[0]
        self._rung.append(Command(channel, ("PUBLISH", channel, told)))

    async def close(self) -> None:
        """Hear no more."""
        tasks = [*self._tasks, *([self._listener] if self._listener is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _publish(self) -> None:
        """What was rung in this turn of the loop, together."""
        rung, self._rung = self._rung, []
        with suppress(StoreUnavailable):
            await self._link.ask(*rung)

    def _begin(self, *command: Any) -> None:
        """Send on the connection there is; a new one subscribes to everything by itself."""
        if self._connection is not None:
            self._keep(asyncio.ensure_future(self._send(self._connection, *command)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, connection: AbstractConnection, *command: Any) -> None:
        with suppress(RedisError, OSError):  # the listener finds out
            await connection.send_packed_command([pack_command(command)], False)

    async def _listen(self) -> None:
        pause = PAUSE_S
        while True:
            connection = self._link.extra_connection()
            try:
                await connection.connect()
                self._connection = connection
                await self._send(connection, "SUBSCRIBE", *self._followed)
                pause = PAUSE_S
                await self._hear(connection)
            except (RedisError, OSError, NotReady, StoreRefused):
                self._connection = None
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            finally:
                self._connection = None
                await connection.disconnect(nowait=True)

    async def _hear(self, connection: AbstractConnection) -> None:
        """Every message until the connection is lost, which raises."""
        asked = False
        while True:
            message = await connection.read_response(timeout=ALIVE_S)
            if message is None:
                if asked:
                    raise ConnectionError("the server is silent")
                await self._send(connection, "PING")
                asked = True
                continue
            asked = False
            # What was published before the subscription was confirmed is found by looking now.
            kind, channel, told = (*message, b"")[:3]
            followed = self._followed.get(channel.decode()) if channel else None
            if followed is not None and kind in (b"message", b"subscribe"):
                key, heard = followed
                heard(key, told if kind == b"message" else b"")
