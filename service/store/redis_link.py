"""The way to Redis, one server or a cluster: commands in, an answer each, in bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from redis.asyncio.connection import AbstractConnection, parse_url
from redis.crc import key_slot
from redis.exceptions import AskError, ResponseError

from service.store.redis_batch import Batches
from service.store.redis_check import parsed
from service.store.redis_login import with_login
from service.store.redis_server import Command, Server, Unknown, Unsent
from service.store.store import StoreUnavailable

# What a server says of itself rather than of the session, and what of it may soon be otherwise.
LATER = (
    "ASK",
    "MOVED",
    "TRYAGAIN",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "READONLY",
    "LOADING",
    "EXECABORT",
)
AWAY = (*LATER, "OOM", "MISCONF", "NOREPLICAS", "NOPERM", "NOAUTH", "BUSY")
PAUSE_S = 0.02
READS_AT_ONCE, READS = 4, 64  # exchanges, and commands in each
COMMITS_AT_ONCE, COMMITS = 2, 256
Address = tuple[str, int]


class Link:
    """Where the commands go. `url` names one server, a cluster's or the only one."""

    def __init__(
        self,
        url: str,
        scripts: Sequence[str],
        timeout_s: float,
        trust: bool,
        password_file: str = "",
    ) -> None:
        self._options = with_login(cast("dict[str, Any]", parse_url(url)), password_file)
        self._scripts, self._timeout_s, self._trust = scripts, timeout_s, trust
        self._home = (self._options.get("host", "localhost"), self._options.get("port", 6379))
        self._servers: dict[Address, Server] = {}
        self._slots: list[tuple[int, int, Address]] = []
        self.cluster = False
        self._reads = Batches(self._run_again, READS_AT_ONCE, READS)
        self._commits = Batches(self._run_whole, COMMITS_AT_ONCE, COMMITS)

    async def open(self) -> None:
        """Find the server, or the cluster. Raises StoreRefused and StoreUnavailable."""
        home = self._server(self._home)
        try:
            await self.ask(Command("", ("PING",)))
        except StoreUnavailable:
            if home.refused is not None:
                raise home.refused from None
            raise
        self.cluster = home.info.get("cluster_enabled") == "1"
        if self.cluster:
            until = asyncio.get_running_loop().time() + self._timeout_s
            await self._learn(until)
            for address in {address for _, _, address in self._slots}:
                await self._server(address).run([Command("", ("PING",))], until)
                if (refused := self._server(address).refused) is not None:
                    raise refused

    async def ask(self, *commands: Command) -> list[Any]:
        """The answers to commands that may be run twice. Raises StoreUnavailable."""
        return _answered(await self._reads.run(commands), sent=False) if commands else []

    async def commit(self, commands: Sequence[Command]) -> list[Any]:
        """The answers to commands of which none is run twice; as one transaction, which is in the
        server's log whole or not at all, where there is one server. Raises StoreUnavailable."""
        results = await self._commits.run(commands)
        return _answered(results, sent=not all(_is_unsent(result) for result in results))

    async def infos(self, section: str) -> list[dict[str, str]]:
        """What INFO tells of each server that has sessions. Raises StoreUnavailable."""
        until = asyncio.get_running_loop().time() + self._timeout_s
        places = {place for _, _, place in self._slots} or {self._home}
        asked = [Command("", ("INFO", section))]
        answers = await asyncio.gather(*(self._server(p).run(asked, until) for p in places))
        return [parsed(answer) for answer in _answered([a for (a,) in answers], sent=False)]

    async def _run_again(self, commands: Sequence[Command]) -> list[Any]:
        return await self._run(commands, again=True)

    async def _run_whole(self, commands: Sequence[Command]) -> list[Any]:
        return await self._run(commands, again=False)

    async def _run(self, commands: Sequence[Command], again: bool) -> list[Any]:
        """What came of each command in the end: tried until it is answered, or it is time."""
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + self._timeout_s, PAUSE_S
        results: list[Any] = [None] * len(commands)
        left = list(range(len(commands)))
        while True:
            answers = await self._attempt([commands[at] for at in left], until, not again)
            for at, answer in zip(left, answers, strict=True):
                results[at] = answer
            left = [at for at in left if _is_worth_another(results[at], again)]
            if not left or loop.time() + pause > until or self._is_hopeless(loop.time()):
                break
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.2)
            if self.cluster:
                await self._learn(until)
        return results

    def extra_connection(self) -> AbstractConnection:
        """A connection of its own, not opened yet, to a server that was there last."""
        there = (server for server in self._servers.values() if server.away_since is None)
        return next(there, self._server(self._home)).extra_connection()

    async def close(self) -> None:
        """Let go of every connection."""
        await self._reads.close()
        await self._commits.close()
        for server in self._servers.values():
            await server.close()

    async def _attempt(self, commands: Sequence[Command], until: float, whole: bool) -> list[Any]:
        if not self.cluster:
            return await self._server(self._home).run(commands, until, whole)
        places: dict[Address, list[int]] = {}
        for at, command in enumerate(commands):
            places.setdefault(self._place(command.key), []).append(at)
        answers = await asyncio.gather(
            *(
                self._server(place).run([commands[at] for at in numbers], until)
                for place, numbers in places.items()
            )
        )
        results: list[Any] = [None] * len(commands)
        for numbers, answer in zip(places.values(), answers, strict=True):
            for at, result in zip(numbers, answer, strict=True):
                if type(result) is AskError:
                    result = await self._ask(result, commands[at], until)
                results[at] = result
        return results

    async def _ask(self, error: AskError, command: Command, until: float) -> Any:
        """A slot is on its way to another server: ask there, this once."""
        server = self._server((error.host, error.port))
        return (await server.run([Command("", ("ASKING",)), command], until))[1]

    async def _learn(self, until: float) -> None:
        """Which server has which slots, of the first that answers."""
        for server in list(self._servers.values()):
            (answer,) = await server.run([Command("", ("CLUSTER", "SLOTS"))], until)
            if isinstance(answer, list):
                self._slots = [
                    (first, last, (host.decode() or self._home[0], port))
                    for first, last, (host, port, *_), *_ in cast("list[Any]", answer)
                ]
                return

    def _place(self, key: str) -> Address:
        slot = key_slot(key.encode())
        found = (place for first, last, place in self._slots if first <= slot <= last)
        return next(found, self._home)

    def _server(self, address: Address) -> Server:
        server = self._servers.get(address)
        if server is None:
            options = self._options | {"host": address[0], "port": address[1]}
            server = Server(options, self._scripts, self._timeout_s, self._trust)
            self._servers[address] = server
        return server

    def _is_hopeless(self, now: float) -> bool:
        """Nobody need wait for a server that others have waited for in vain, or a refused one."""
        servers = self._servers.values()
        waited = [now - server.away_since for server in servers if server.away_since is not None]
        return any(server.refused for server in servers) or max(waited, default=0) > self._timeout_s


def _answered(results: list[Any], sent: bool) -> list[Any]:
    """The answers: values, and ResponseErrors that are about their session. Raises
    StoreUnavailable where one is missing."""
    away = next((result for result in results if _is_away(result)), None)
    if away is not None:
        raise StoreUnavailable(f"Redis: {away}", sent)
    return results


def _is_worth_another(result: Any, again: bool) -> bool:
    if isinstance(result, Unknown):
        return again
    return isinstance(result, Unsent) or _code_of(result) in LATER


def _is_away(result: Any) -> bool:
    return isinstance(result, Unsent | Unknown) or _code_of(result) is not None


def _is_unsent(result: Any) -> bool:
    return _is_away(result) and not isinstance(result, Unknown)


def _code_of(result: Any) -> str | None:
    """The code of an answer that tells of the server, not of the session."""
    if not isinstance(result, ResponseError):
        return None
    text = f"{result.status_code} {result}"
    # Redis 6 tells it in the midst of a script's error.
    return next(
        (code for code in AWAY if f"{code} " in text.split(": ")[0] or f"-{code} " in text), None
    )
