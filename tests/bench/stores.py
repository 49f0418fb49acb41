"""What durability and many sessions cost: one server a store, all up at once, stepped in turns.

Requests of one row, from 64 clients. A turn visits every store, and there first 64 sessions and
then many more, so that whatever else the machine does meets them all; a ratio is the median of the
turns' ratios.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.bundle import Bundle, read_bundle
from tests.bench import cold, restart
from tests.bench.footprint import Sizes, sizes_of
from tests.bench.load import Load, Turn, begun, percentiles
from tests.bench.place import Place, opened
from tests.bench.reference import Reference

CLIENTS = 64
TURNS = 9
BASE = "sqlite off"
STORES = {
    "memory": {"NTM_STORE": "memory"},
    BASE: {"NTM_DURABILITY": "off"},
    "sqlite async": {"NTM_DURABILITY": "async"},
    "sqlite sync normal": {"NTM_SQLITE_SYNC": "normal"},
    "sqlite sync full": {"NTM_SQLITE_SYNC": "full"},
    "redis always": {"NTM_STORE": "redis"},
}
PARTS = ("front", "engine", "redis")
RESTARTED = ("sqlite sync full", "redis always")


class Side:
    """One store under one load: its turns so far, and the processor time they took."""

    def __init__(self, place: Place, load: Load) -> None:
        self.place, self.load = place, load
        self.turns: list[Turn] = []
        self.cpu_ms = {part: 0.0 for part in PARTS}

    async def turn(self, seconds: float) -> None:
        """One more."""
        before = self.place.cpu_ms()
        self.turns.append(await self.load.turn(seconds))
        for part, ms in self.place.cpu_ms().items():
            self.cpu_ms[part] += ms - before[part]

    @property
    def rates(self) -> NDArray[np.float64]:
        """Requests a second, by turn."""
        return np.array([turn.rate for turn in self.turns])


def report(entry: Path, seconds: float, many: int) -> None:
    """Print all tables. seconds: of each line of the first, in TURNS turns."""
    bundle = read_bundle(entry / "bundle")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        places = [
            opened(n, s, bundle, Path(folder) / n.replace(" ", "-"), stack)
            for n, s in STORES.items()
        ]
        asyncio.run(_report(bundle, places, min(seconds, 60) / TURNS, many))
    cold.report(bundle)


async def _report(bundle: Bundle, places: list[Place], seconds: float, many: int) -> None:
    reference = Reference(bundle)
    few = {place.name: await _side(place, reference, CLIENTS) for place in places}
    before = sizes_of(places)
    more = {place.name: await _side(place, reference, many) for place in places}
    after = sizes_of(places)
    for number in range(TURNS):
        for name in few if number % 2 == 0 else reversed(few):
            await few[name].load.round()  # their states are back from wherever they were put
            await few[name].turn(seconds)
            await more[name].turn(seconds)
    _print_rates(few, more)
    _print_sizes(bundle, before, after, many)
    restart.heading()
    for name in RESTARTED:
        await restart.report(bundle, more[name].place, more[name].load)


async def _side(place: Place, reference: Reference, sessions: int) -> Side:
    """So many sessions that have stepped."""
    load = await begun(place.url, reference, CLIENTS, sessions, 1)
    await load.round()
    return Side(place, load)


def _print_rates(few: dict[str, Side], more: dict[str, Side]) -> None:
    print(f"\nload average {os.getloadavg()[0]:.1f} after the turns")
    print(
        "\n| store | sessions | rows/s | to off | to 64 sessions | p50 ms | p99 ms | "
        "processor ms a row: front | engine | redis | wrong |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for sides in (few, more):
        for name, side in sides.items():
            latencies = [latency for turn in side.turns for latency in turn.latencies]
            ratios = (side.rates / sides[BASE].rates, side.rates / few[name].rates)
            p50, p99 = percentiles(latencies)
            cpu = [f"{side.cpu_ms[part] / len(latencies):.2f}" for part in PARTS]
            print(
                f"| {name} | {len(side.load.ids):,} | {_median(side.rates):,.0f} | "
                f"{' | '.join(f'{_median(ratio):.2f}' for ratio in ratios)} | "
                f"{p50:.1f} | {p99:.1f} | {' | '.join(cpu)} | "
                f"{side.load.wrong()} of {side.load.checked} |",
                flush=True,
            )


def _median(values: NDArray[np.float64]) -> float:
    return float(np.median(values))


def _print_sizes(
    bundle: Bundle, before: dict[str, Sizes], after: dict[str, Sizes], many: int
) -> None:
    state = sum(tensor.nbytes for tensor in bundle.manifest.state)
    print("\n| where a session is | bytes |\n|---|---|")
    print(f"| a device slot, reserved at the start | {state:,} |")
    held = after["redis always"].engine - before["redis always"].engine
    print(f"| held by the engine, growth of its memory | {held // many:,} |")
    redis = after["redis always"].store - before["redis always"].store
    print(f"| Redis, growth of used_memory | {redis // many:,} |")
    file = after["sqlite sync full"].store - before["sqlite sync full"].store
    print(f"| SQLite, growth of the file's pages in use | {file // many:,} |", flush=True)
