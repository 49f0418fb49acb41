"""One Redis server: connections that were checked, and commands that are answered in bounded time.

What became of each command is told apart: answered, surely not sent, or perhaps done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from random import uniform
from typing import Any, NamedTuple

from hiredis import pack_command
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from service.store.redis_check import NotReady, StoreRefused, require_durable

CONNECTIONS = 16
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 0.5
QUEUED = b"QUEUED"


class Command(NamedTuple):
    """key: whose slot says where it goes."""

    key: str
    args: tuple[str | bytes | int, ...]


class Unsent(Exception):
    """The command has certainly not been run."""


class Unknown(Exception):
    """The command was sent and no answer came: it may have been run, or may yet be."""


class Server:
    """The connections to one server. While it is away, tried again after growing pauses.

    scripts: the sources of those that commands call by their hash.
    """

    def __init__(
        self, options: dict[str, Any], scripts: Sequence[str], timeout_s: float, trust: bool
    ) -> None:
        self._pool = ConnectionPool(
            **options,
            max_connections=CONNECTIONS,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            redis_connect_func=self._check,
        )
        self._free = asyncio.Semaphore(CONNECTIONS)
        self._scripts, self._timeout_s, self._trust = scripts, timeout_s, trust
        self._pause, self._try_at, self._why = 0.0, 0.0, ""
        self.away_since: float | None = None
        self.info: dict[str, str] = {}
        self.refused: StoreRefused | None = None

    async def run(
        self, commands: Sequence[Command], until: float, whole: bool = False
    ) -> list[Any]:
        """What came of each command: a value, a ResponseError, an `Unsent` or an `Unknown`.

        until: by when they are sent, or not at all, in the loop's time; an answer has the
        server's time-out. whole: as one transaction, which its log has whole or not at all.
        """
        loop = asyncio.get_running_loop()
        if loop.time() < self._try_at:
            return [Unsent(f"the server is away: {self._why}")] * len(commands)
        if self.away_since is not None:
            self._failed(loop.time())  # the next call waits for what this one finds
        try:
            async with asyncio.timeout_at(until):
                await self._free.acquire()
        except TimeoutError:
            return [Unsent("no connection is free")] * len(commands)
        try:
            return await self._run(commands, until, whole)
        finally:
            self._free.release()

    def extra_connection(self) -> AbstractConnection:
        """A connection beside the pool's, not opened yet."""
        return self._pool.make_connection()

    async def close(self) -> None:
        """Let go of every connection."""
        await self._pool.aclose()

    async def _run(self, commands: Sequence[Command], until: float, whole: bool) -> list[Any]:
        try:
            async with asyncio.timeout_at(until):
                connection = await self._pool.get_connection()
        except (RedisError, OSError, TimeoutError, NotReady, StoreRefused) as error:
            await self._lost(str(error) or "it does not answer")
            return [Unsent(self._why)] * len(commands)
        results: list[Any] = []
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._exchange(connection, commands, whole, results)
            self.away_since, self._pause, self._try_at = None, 0.0, 0.0
        except (RedisError, OSError, TimeoutError) as error:
            await connection.disconnect(nowait=True)
            await self._lost(str(error) or f"no answer within {self._timeout_s:g} s")
            results += [Unknown(self._why)] * (len(commands) - len(results))
        finally:
            await self._pool.release(connection)
        return results

    async def _exchange(
        self,
        connection: AbstractConnection,
        commands: Sequence[Command],
        whole: bool,
        results: list[Any],
    ) -> None:
        results += await _answers(connection, [command.args for command in commands], whole)
        missing = [at for at, result in enumerate(results) if isinstance(result, NoScriptError)]
        if missing:
            loads = [("SCRIPT", "LOAD", source) for source in self._scripts]
            again = [commands[at].args for at in missing]
            for result in await _answers(connection, loads, False):
                if isinstance(result, ResponseError):
                    raise result
            for at, result in zip(missing, await _answers(connection, again, whole), strict=True):
                results[at] = result

    async def _check(self, connection: AbstractConnection) -> None:
        """Every connection is to a server that keeps what it acknowledges, or to none."""
        try:
            await connection.on_connect()
            self.info = await require_durable(connection, self._trust)
            self.refused = None
        except BaseException as error:
            self.refused = error if isinstance(error, StoreRefused) else None
            await connection.disconnect(nowait=True)
            raise

    async def _lost(self, why: str) -> None:
        """Idle connections go too, so that a server that hangs is found out by its check, before
        anything is sent to it."""
        self._why = why
        self._failed(asyncio.get_running_loop().time())
        with suppress(RedisError, OSError):
            await self._pool.disconnect(inuse_connections=False)

    def _failed(self, now: float) -> None:
        if self.away_since is None:
            self.away_since = now
        if now >= self._try_at:
            self._pause = min(max(self._pause * 2, FIRST_PAUSE_S), LONGEST_PAUSE_S)
            self._try_at = now + uniform(0.5, 1.0) * self._pause


async def _answers(
    connection: AbstractConnection, commands: Sequence[tuple[Any, ...]], whole: bool
) -> list[Any]:
    """One answer a command, sent together. Raises what the connection raises."""
    framed: Iterable[tuple[Any, ...]] = commands
    if whole := whole and len(commands) > 1:
        framed = [("MULTI",), *commands, ("EXEC",)]
    await connection.send_packed_command([pack_command(args) for args in framed], False)
    if not whole:
        return [await _answer(connection) for _ in commands]
    begun = await _answer(connection)
    answers = [await _answer(connection) for _ in commands]
    done = await _answer(connection)
    # Refused as a whole, or, where MULTI itself was, each answered for itself.
    if isinstance(begun, ResponseError) or not isinstance(done, list):
        return [done if answer == QUEUED else answer for answer in answers]
    return done


async def _answer(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error
