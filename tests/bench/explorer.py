"""What one page of the explorer, live on a session that is being stepped, costs everybody.

The watcher asks what the page asks, as often, and draws nothing: events with rows, of the newest
rows what the network did, its memory, and why (service/explorer/js: traces.js, words.js, lane.js).
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import numpy as np

from export.bundle import read_bundle
from tests.bench.load import Load, begun
from tests.bench.peers.processes import cpu_ms
from tests.bench.reference import Reference
from tests.service.serving import served

CLIENTS = 64
TURNS = 8
LONGEST_S = 10.0
SHARE = 40  # of lane.js
SMALL = "read_weights,write_weights,read_vectors,controller,key,strength,gate,shift,erase,add"
LOOKS = (  # what, its query, and how often at most
    ("trace", {"rows": "64", "roles": SMALL}, 0.3),
    ("trace", {"rows": "16", "roles": "memory"}, 0.3),
    ("explain", {"rows": "256"}, 0.6),
)


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
    seen = {"events": 0, "looks": 0}
    for turn in range(TURNS):
        pair: dict[bool, tuple[float, float]] = {}
        for watched in (False, True)[:: 1 - turn % 2 * 2]:
            async with _watching(url, load.ids[0], seen) if watched else contextlib.nullcontext():
                pair[watched] = await _turn(load, pid, seconds)
        rates.append(pair[True][0] / pair[False][0])
        costs.append(pair[True][1] / pair[False][1])
    rate, cost = (np.percentile(ratios, [25, 50, 75]) for ratios in (rates, costs))
    return (
        f"\n{CLIENTS} clients that step, with a page live on one of their sessions to without, "
        f"{TURNS} turns of {seconds:.1f} s: requests/s median {rate[1]:.3f}, quartiles "
        f"{rate[0]:.3f}, {rate[2]:.3f}; server CPU a request median {cost[1]:.3f}, quartiles "
        f"{cost[0]:.3f}, {cost[2]:.3f}; the page got {seen['events']:,} events and {seen['looks']} "
        f"looks; wrong {load.wrong()} of {load.checked:,}"
    )


async def _turn(load: Load, pid: int, seconds: float) -> tuple[float, float]:
    """Requests a second, and the server's CPU milliseconds a request, the page's included."""
    used = cpu_ms(pid)
    done = await load.turn(seconds)
    return done.rate, (cpu_ms(pid) - used) / len(done.latencies)


@contextlib.asynccontextmanager
async def _watching(url: str, session: str, seen: dict[str, int]) -> AsyncGenerator[None]:
    headers, opened = {"accept": "application/msgpack"}, asyncio.Event()
    async with httpx.AsyncClient(base_url=f"{url}/v1/sessions/{session}", timeout=60) as client:
        tasks = [
            asyncio.create_task(_listen(client, seen)),
            asyncio.create_task(_look(client, headers, seen, opened)),
        ]
        try:
            await opened.wait()  # what opening a page costs, it costs once
            yield
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            for end in ended:
                assert isinstance(end, asyncio.CancelledError), end


async def _listen(client: httpx.AsyncClient, seen: dict[str, int]) -> None:
    async with client.stream("GET", "/events", params={"include": "rows"}) as answer:
        async for line in answer.aiter_lines():
            seen["events"] += line.startswith("event: ")


async def _look(
    client: httpx.AsyncClient, headers: dict[str, str], seen: dict[str, int], opened: asyncio.Event
) -> None:
    """One request after the other, each as often as it may."""
    after = dict.fromkeys(range(len(LOOKS)), 0.0)
    while True:
        at = min(after, key=after.__getitem__)
        await asyncio.sleep(max(0.0, after[at] - time.monotonic()))
        what, query, least = LOOKS[at]
        begun_at = time.monotonic()
        answer = await client.get(f"/{what}", params=query, headers=headers)
        answer.raise_for_status()
        seen["looks"] += 1
        now = time.monotonic()
        after[at] = now + min(LONGEST_S, max(least, SHARE * (now - begun_at)))
        if all(after.values()):
            opened.set()
