"""Three servers on one Redis: behind HAProxy, and driven at random by clients that ignore it.

One server at a time is killed or paused, and so is Redis itself. Nothing acknowledged is lost, and
a stale owner that wakes up writes over nothing.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.ports import free_port
from tests.service.crash.crowd import Crowd, crowd, eventually
from tests.service.crash.reference import Versions
from tests.service.crash.test_crash import KILLS, LONG_S
from tests.service.crash.victim import SMALL
from tests.service.serving import Server, environ, launched, until
from tests.service.store.redis_server import RedisServer

ROUNDS = max(3, KILLS // 4)
CLIENTS = 12
CONFIG = Path(__file__).parents[3] / "deploy" / "haproxy" / "haproxy.cfg"

pytestmark = pytest.mark.crash


class Replicas:
    """Three servers on one Redis, and a router before them."""

    def __init__(self, folder: Path, models: Path, stack: ExitStack) -> None:
        self._folder, self._models, self._stack = folder, models, stack
        self.redis = RedisServer(folder / "redis")
        self.redis.start()
        stack.callback(self.redis.kill)
        self._ports = [free_port() for _ in range(3)]
        self.servers = [self._start(number) for number in range(3)]
        self.router = f"http://127.0.0.1:{self._route()}"
        until(lambda: _answers(self.router), 20)

    @property
    def urls(self) -> list[str]:
        """The servers' own addresses."""
        return [server.url for server in self.servers]

    def kill(self, number: int) -> None:
        """SIGKILL of one server with all of its processes, and a new one in its place."""
        server = self.servers[number]
        server.process.kill()
        server.process.wait()
        self.servers[number] = self._start(number)

    def pause(self, number: int, seconds: float) -> None:
        """One server's engine stands still, and wakes up with what it held before."""
        for pid in self.servers[number].children("engine.process"):
            os.kill(pid, signal.SIGSTOP)
            self._stack.callback(_wake, pid)
            # How long a stale owner sleeps is the very thing under test.
            signal.sigtimedwait([], seconds)
            _wake(pid)

    def _start(self, number: int) -> Server:
        folder = self._folder / f"server-{number}-{random.getrandbits(32):08x}"
        folder.mkdir()
        settings = SMALL | {
            "NTM_STORE": self.redis.url,
            "NTM_PORT": str(self._ports[number]),
            "NTM_MODELS": str(self._models),
        }
        server = self._stack.enter_context(launched(folder, **settings))
        server.wait_until_listening()
        return server

    def _route(self) -> int:
        port = free_port()
        names = {f"NTM_REPLICA_{n + 1}": f"127.0.0.1:{p}" for n, p in enumerate(self._ports)}
        process = subprocess.Popen(
            ["haproxy", "-f", str(CONFIG), "-db"],
            env=environ(NTM_LISTEN=f"127.0.0.1:{port}", **names),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return port


def _wake(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def replicas(folder: Path, models: Path) -> Iterator[Replicas]:
    """Three servers, ended with the test."""
    with ExitStack() as stack:
        yield Replicas(folder, models, stack)


class Anywhere(httpx.AsyncBaseTransport):
    """Sends each request to an address of the moment, chosen at random."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = [httpx.URL(address) for address in addresses]
        self._inner = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        address = random.choice(self._addresses)
        request.url = request.url.copy_with(host=address.host, port=address.port)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _work(
    running: Replicas, versions: Versions, addresses: list[str], disturbance: str
) -> Crowd:
    async def disturb() -> None:
        for _ in range(ROUNDS):
            enough = clients.seen["mutations"] + random.randint(1, 200)
            await eventually(lambda enough=enough: clients.seen["mutations"] >= enough, LONG_S)
            await asyncio.to_thread(_disturb, running, disturbance)
        enough = clients.seen["mutations"] + CLIENTS
        await eventually(lambda: clients.seen["mutations"] >= enough, LONG_S)

    async with crowd(addresses[0], versions, CLIENTS, Anywhere(addresses)) as clients:
        await clients.live(disturb())
        await clients.compare()
        return clients


def _disturb(running: Replicas, what: str) -> None:
    match what:
        case "kill a server":
            running.kill(random.randrange(3))
        case "pause a server":
            running.pause(random.randrange(3), 1.5)
        case _:
            running.redis.kill()
            running.redis.start()


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs Debian's haproxy")
def test_behind_the_router_servers_are_killed_one_by_one(
    tmp_path: Path, bundles: Path, versions: Versions
):
    with replicas(tmp_path, bundles) as running:
        seen = asyncio.run(_work(running, versions, [running.router], "kill a server")).seen
        print(f"behind the router, kill a server, {ROUNDS} times; {dict(seen)}")
        assert seen["mutations"] > CLIENTS


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs Debian's haproxy")
@pytest.mark.parametrize("disturbance", ["kill a server", "pause a server", "kill redis"])
def test_clients_that_ignore_the_router_see_one_truth(
    tmp_path: Path, bundles: Path, versions: Versions, disturbance: str
):
    with replicas(tmp_path, bundles) as running:
        seen = asyncio.run(_work(running, versions, running.urls, disturbance)).seen
        print(f"{disturbance}, {ROUNDS} times; {dict(seen)}")
        assert seen["mutations"] > CLIENTS
