"""What one page of the explorer, live on a session that is being stepped, costs everybody.

The watcher asks what the page asks, as often, and draws nothing: events with rows; of the rows in
view why (service/explorer/js: looks.js, words.js), of the newest its memory, and of those in view
what the network did (traces.js), then nothing until the pace lets it (lane.js).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import msgspec
import numpy as np

from export.bundle import read_bundle
from tests.bench.load import Load, begun
from tests.bench.peers.processes import cpu_ms
from tests.bench.reference import Reference
from tests.service.serving import served

CLIENTS = 64
TURNS = 16
VIEW, CHUNK = 128, 64  # rows: of over_time.js where there is room, of traces.js
SHARE, LEAST_S, SPARE_S = 25, 0.3, 0.1  # of lane.js
SMALL = "read_weights,write_weights,read_vectors,controller,key,strength,gate,shift,erase,add"


class Row(NamedTuple):
    """One row of the page's log."""

    step: int
    revision: int


class Seen:
    """What the page got, over all turns as if it had been open without a break. took: seconds a
    look, all of its requests; spare: seconds of looks saved up, of lane.js."""

    def __init__(self) -> None:
        self.spare = 0.0
        self.rows: list[Row] = []  # the page's log
        self.told = 0  # of how many of them, counted from the first, what the network did is known
        self.events = 0
        self.took: list[float] = []

    def asked(self) -> Iterator[tuple[str, dict[str, str | int]]]:
        """What a look asks for, in order."""
        total = len(self.rows)
        first = max(0, total - VIEW)
        newest = self.rows[-1]._asdict()
        yield "explain", {**newest, "rows": total - first}
        yield "trace", {**newest, "rows": 1, "roles": "memory"}
        begin = max(first, self.told)
        while begin < total:
            end = min(total, (begin // CHUNK + 1) * CHUNK)
            last = self.rows[end - 1]._asdict()
            yield "trace", {**last, "rows": end - begin, "roles": SMALL}
            begin = end
        self.told = total


def report(entry: Path, seconds: float) -> None:
    """Print the comparison. seconds: of each turn."""
    bundle = read_bundle(entry / "bundle")
    with tempfile.TemporaryDirectory() as folder:
        with served(Path(folder), bundle.folder) as server:
            turns = _turns(server.url, server.process.pid, Reference(bundle), seconds)
            print(asyncio.run(turns), flush=True)


async def _turns(url: str, pid: int, reference: Reference, seconds: float) -> str:
    load = await begun(url, reference, CLIENTS, CLIENTS, 1)
    await load.round()
    rates: list[float] = []
    costs: list[float] = []
    seen = Seen()
    for turn in range(TURNS):
        pair: dict[bool, tuple[float, float]] = {}
        for watched in (False, True)[:: 1 - turn % 2 * 2]:
            async with _watching(url, load.ids[0], seen) if watched else contextlib.nullcontext():
                pair[watched] = await _turn(load, pid, seconds)
        rates.append(pair[True][0] / pair[False][0])
        costs.append(pair[True][1] / pair[False][1])
    rate, cost = (np.percentile(ratios, [25, 50, 75]) for ratios in (rates, costs))
    looks = f"{len(seen.took)} looks of {np.median(seen.took):.2f} s in the median"
    return (
        f"\n{CLIENTS} clients that step, with a page live on one of their sessions to without, "
        f"{TURNS} turns of {seconds:.1f} s: requests/s median {rate[1]:.3f}, quartiles "
        f"{rate[0]:.3f}, {rate[2]:.3f}; server CPU a request median {cost[1]:.3f}, quartiles "
        f"{cost[0]:.3f}, {cost[2]:.3f}; the page got {seen.events:,} events and {looks}; "
        f"wrong {load.wrong()} of {load.checked:,}"
    )


async def _turn(load: Load, pid: int, seconds: float) -> tuple[float, float]:
    """Requests a second, and the server's CPU milliseconds a request, the page's included."""
    used = cpu_ms(pid)
    done = await load.turn(seconds)
    return done.rate, (cpu_ms(pid) - used) / len(done.latencies)


@contextlib.asynccontextmanager
async def _watching(url: str, session: str, seen: Seen) -> AsyncGenerator[None]:
    headers, opened = {"accept": "application/msgpack"}, asyncio.Event()
    base = f"{url}/v1/sessions/{session}"
    async with httpx.AsyncClient(base_url=base, timeout=60, headers=headers) as client:
        history = (await client.get("/history", params={"limit": 1000})).raise_for_status()
        kept = reversed(msgspec.msgpack.decode(history.content)["history"])
        seen.rows = [Row(each["step"], each["revision"]) for each in kept if "inputs" in each]
        seen.told = 0
        tasks = [
            asyncio.create_task(_listen(client, seen)),
            asyncio.create_task(_look(client, seen, opened)),
        ]
        try:
            await opened.wait()
            yield
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            for end in ended:
                assert isinstance(end, asyncio.CancelledError), end


async def _listen(client: httpx.AsyncClient, seen: Seen) -> None:
    accept = {"accept": "text/event-stream"}
    async with client.stream("GET", "/events?include=rows", headers=accept) as answer:
        async for line in answer.aiter_lines():
            seen.events += line.startswith("event: ")
            if line.startswith("data: ") and "inputs" in (told := json.loads(line[6:])):
                seen.rows.append(Row(told["step"], told["revision"]))


async def _look(client: httpx.AsyncClient, seen: Seen, opened: asyncio.Event) -> None:
    """One request after the other, each look when the pace lets it."""
    await _once(client, seen)  # what opening a page costs, it costs once
    opened.set()
    while True:
        with _saved_up(seen):
            await asyncio.sleep(max(LEAST_S, -seen.spare * SHARE))
            while len(seen.rows) == seen.told:
                await asyncio.sleep(0.01)
        begun_at = time.monotonic()
        try:
            with _saved_up(seen):
                await _once(client, seen)
            seen.took.append(time.monotonic() - begun_at)
        finally:
            seen.spare -= time.monotonic() - begun_at


@contextlib.contextmanager
def _saved_up(seen: Seen) -> Iterator[None]:
    begun_at = time.monotonic()
    try:
        yield
    finally:
        seen.spare = min(SPARE_S, seen.spare + (time.monotonic() - begun_at) / SHARE)


async def _once(client: httpx.AsyncClient, seen: Seen) -> None:
    for what, query in seen.asked():
        (await client.get(f"/{what}", params=query)).raise_for_status()
