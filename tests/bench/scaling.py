"""One, two and three replicas behind HAProxy on one Redis: steps/s, and what each piece costs.

All three replicas are up all the time, behind three routers that know one, two and three of them,
and are stepped in turns, to and fro. All of it shares this machine's cores with the clients, so the
rate cannot grow with the replicas where the cores are used up; what a step costs each piece, in
processor time and bytes, is what larger deployments are worked out from.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from export.bundle import Bundle, read_bundle
from tests.bench.connection import connect
from tests.bench.footprint import used_memory
from tests.bench.load import Load, begun, percentiles
from tests.bench.peers.processes import cpu_ms
from tests.bench.reference import Reference
from tests.ports import free_port
from tests.service.serving import Server, environ, served
from tests.service.store.redis_server import RedisServer, running

CLIENTS, SESSIONS, TURNS, REPLICAS = 64, 256, 5, 3
PIECES: tuple[str, ...] = ("fronts", "engines", "redis", "haproxy", "clients")
KEPT = (1, 10, 100, 1000)  # rows of a session's history at which Redis' memory is read
MEASURED = 50  # sessions of those
SHORT = "64"  # rows of a history that is kept short
CONFIG = Path(__file__).parents[2] / "deploy" / "haproxy" / "haproxy.cfg"
NOWHERE = "127.0.0.1:1"  # for a replica that a router has not


class Cluster:
    """The servers, their Redis, and a router for each number of them."""

    def __init__(self, bundle: Bundle, folder: Path, stack: ExitStack) -> None:
        # Its log grows only, so that its growth is what was written.
        kept = running(folder / "redis", auto_aof_rewrite_percentage="0")
        self.redis = stack.enter_context(kept)
        self._bundle, self._folder, self._stack = bundle, folder, stack
        self.servers = [self.server(f"server-{number}") for number in range(REPLICAS)]
        self.routers = {
            count: stack.enter_context(_router(self.servers[:count]))
            for count in range(1, REPLICAS + 1)
        }

    def server(self, name: str, **settings: str) -> Server:
        """One more on the same Redis."""
        place = self._folder / name
        place.mkdir()
        settings |= {"NTM_STORE": self.redis.url, "NTM_DEVICE": "cpu", "NTM_REDIS_TIMEOUT_S": "30"}
        return self._stack.enter_context(served(place, self._bundle.folder, **settings))

    def cpu_ms(self, count: int) -> dict[str, float]:
        """Processor time used so far, by piece; of the router that knows `count` replicas."""
        assert self.redis.process is not None
        pids = {
            "fronts": [pid for server in self.servers for pid in server.children("service.front")],
            "engines": [p for s in self.servers for p in s.children("service.engine.process")],
            "redis": [self.redis.process.pid],
            "haproxy": [self.routers[count][1]] if count in self.routers else [],
        }
        used = {piece: float(sum(map(cpu_ms, found))) for piece, found in pids.items()}
        return used | {"clients": time.process_time() * 1000}


@contextmanager
def _router(servers: list[Server]) -> Generator[tuple[str, int]]:
    """HAProxy in front of these: its URL and process."""
    address = f"127.0.0.1:{free_port()}"
    places = [server.url.removeprefix("http://") for server in servers]
    places += [NOWHERE] * (REPLICAS - len(places))
    names = {f"NTM_REPLICA_{number}": place for number, place in enumerate(places, 1)}
    process = subprocess.Popen(
        ["haproxy", "-db", "-f", str(CONFIG)], env=environ(NTM_LISTEN=address, **names),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield f"http://{address}", process.pid
    finally:
        process.kill()
        process.wait()


class Side:
    """One number of replicas under its load; 0 is one of them without a router."""

    def __init__(self, count: int, load: Load) -> None:
        self.count, self.load = count, load
        self.rates: list[float] = []
        self.latencies: list[float] = []
        self.cpu_ms = dict.fromkeys(PIECES, 0.0)

    async def turn(self, cluster: Cluster, seconds: float) -> None:
        """One more."""
        before = cluster.cpu_ms(self.count)
        turn = await self.load.turn(seconds)
        for piece, ms in cluster.cpu_ms(self.count).items():
            self.cpu_ms[piece] += ms - before[piece]
        self.rates.append(turn.rate)
        self.latencies += turn.latencies

    def line(self) -> str:
        """Its line of the table: milliseconds a step are seconds a thousand of them."""
        p50, p99 = percentiles(self.latencies)
        costs = [self.cpu_ms[piece] * 1000 / len(self.latencies) for piece in PIECES]
        name = f"{self.count}" if self.count else "1, no router"
        return (
            f"| {name} | {np.median(self.rates):,.0f} | {p50:.1f} | {p99:.1f} | "
            f"{' | '.join(f'{cost:,.0f}' for cost in costs)} | {sum(costs):,.0f} | "
            f"{self.load.wrong()} of {self.load.checked} |"
        )


def report(entry: Path, seconds: float) -> None:
    """Print the tables. seconds: of each line of the first, in TURNS turns."""
    bundle = read_bundle(entry / "bundle")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        cluster = Cluster(bundle, Path(folder), stack)
        asyncio.run(_report(cluster, Reference(bundle), seconds / TURNS))


async def _report(cluster: Cluster, reference: Reference, seconds: float) -> None:
    urls = {0: cluster.servers[0].url} | {n: url for n, (url, _) in cluster.routers.items()}
    sides = [
        Side(count, await begun(url, reference, CLIENTS, SESSIONS, 1))
        for count, url in urls.items()
    ]
    for side in sides:
        await side.load.round()
    before, steps = _traffic(cluster.redis), sum(sum(side.load.steps) for side in sides)
    for number in range(TURNS):
        for side in sides[:: 1 - number % 2 * 2]:
            await side.turn(cluster, seconds)
    steps = sum(sum(side.load.steps) for side in sides) - steps
    after = _traffic(cluster.redis)
    print(f"\nload average {os.getloadavg()[0]:.1f} after the turns")
    print(
        "\n| replicas | steps/s | p50 ms | p99 ms | "
        + " | ".join(f"{piece}: CPU s a million steps" for piece in PIECES)
        + " | all | wrong |"
    )
    print("|---" * (6 + len(PIECES)) + "|")
    for side in sides:
        print(side.line(), flush=True)
    print("\n| a step takes | bytes |\n|---|---|")
    for name in after:
        print(f"| {name} | {(after[name] - before[name]) / steps:,.0f} |")
    for name, size in (await _message(sides[1].load, urls[1])).items():
        print(f"| {name} | {size:,} |")
    await _memory(cluster, reference)


def _traffic(redis: RedisServer) -> dict[str, int]:
    """What has gone to Redis, from it, and to its disk."""
    told = (redis.ask("INFO", "stats") + redis.ask("INFO", "persistence")).decode()
    names = {
        "network, servers to Redis": "total_net_input_bytes",
        "network, Redis to servers": "total_net_output_bytes",
        "append-only file": "aof_current_size",
    }
    found = {name: re.search(rf"{field}:(\d+)", told) for name, field in names.items()}
    return {name: int(match[1]) for name, match in found.items() if match}


async def _message(load: Load, url: str) -> dict[str, int]:
    """The sizes of a step's request and answer, heads included."""
    connection = await connect(url)
    sizes: list[int] = []
    received = connection.data_received
    connection.data_received = lambda data: (sizes.append(len(data)), received(data))[1]  # type: ignore[method-assign]
    request = load.request(0)
    await connection.send(request)
    load.steps[0] += 1
    connection.close()
    return {"HTTP, request of a row": len(request), "HTTP, its answer": sum(sizes)}


async def _memory(cluster: Cluster, reference: Reference) -> None:
    """What a session takes in Redis, by the rows that it has stepped, one a request."""
    print(f"\n| a session in Redis, rows stepped | bytes | with NTM_HISTORY_ROWS={SHORT} |")
    print("|---|---|---|")
    urls = [cluster.servers[0].url, cluster.server("short", NTM_HISTORY_ROWS=SHORT).url]
    sizes = [await _grown(cluster.redis, reference, url) for url in urls]
    for rows in sizes[0]:
        print(f"| {rows:,} | {' | '.join(f'{size[rows]:,}' for size in sizes)} |", flush=True)


async def _grown(redis: RedisServer, reference: Reference, url: str) -> dict[int, int]:
    """Bytes a session, by rows stepped, of sessions of one server."""
    begin = used_memory(redis)
    load = await begun(url, reference, 8, MEASURED, 1)
    sizes = {0: (used_memory(redis) - begin) // MEASURED}
    for rows in KEPT:
        while load.steps[0] < rows:
            await load.round()
        sizes[rows] = (used_memory(redis) - begin) // MEASURED
    return sizes
