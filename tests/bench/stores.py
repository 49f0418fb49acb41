"""What durability costs: one server a store, all up at once, stepped in turns.

Requests of one row, from 64 clients. Each turn visits every store once, so that whatever else the
machine does meets them all; a ratio is the median of the turns' ratios.
"""

from __future__ import annotations

import asyncio
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
MANY = 10_000
TURNS = 5
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

Rates = dict[str, NDArray[np.float64]]


def report(entry: Path, seconds: float) -> None:
    """Print all tables. seconds: of each line of the first, in TURNS turns."""
    bundle = read_bundle(entry / "bundle")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        places = [
            opened(n, s, bundle, Path(folder) / n.replace(" ", "-"), stack)
            for n, s in STORES.items()
        ]
        asyncio.run(_report(bundle, places, min(seconds, 60) / TURNS))
    cold.report(bundle)


async def _report(bundle: Bundle, places: list[Place], seconds: float) -> None:
    reference = Reference(bundle)
    print(
        "\n| store | sessions | rows/s | to off | p50 ms | p99 ms | "
        "processor ms a row: front | engine | redis | wrong |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    few, _ = await _loaded(places, reference, CLIENTS, seconds)
    before = sizes_of(places)
    many, loads = await _loaded(places, reference, MANY, seconds)
    print(f"\nrows/s with {MANY:,} sessions to those with {CLIENTS}:", end=" ")
    print(", ".join(f"{name} {_median(many[name] / few[name]):.2f}" for name in few))
    _print_sizes(bundle, before, sizes_of(places))
    restart.heading()
    for place in places:
        if place.name in RESTARTED:
            await restart.report(bundle, place, loads[place.name])


async def _loaded(
    places: list[Place], reference: Reference, sessions: int, seconds: float
) -> tuple[Rates, dict[str, Load]]:
    """The rates of every turn, once all these sessions are there and have stepped."""
    loads: dict[str, Load] = {}
    turns: dict[str, list[Turn]] = {place.name: [] for place in places}
    for place in places:
        loads[place.name] = await begun(place.url, reference, CLIENTS, sessions, 1)
        await loads[place.name].round()
    before = {place.name: place.cpu_ms() for place in places}
    for number in range(TURNS):
        for name in turns if number % 2 == 0 else reversed(turns):
            turns[name].append(await loads[name].turn(seconds))
    used = {
        p.name: {part: ms - before[p.name][part] for part, ms in p.cpu_ms().items()} for p in places
    }
    rates = {name: np.array([turn.rate for turn in seen]) for name, seen in turns.items()}
    for name, seen in turns.items():
        latencies = [latency for turn in seen for latency in turn.latencies]
        p50, p99 = percentiles(latencies)
        cpu = [f"{used[name].get(part, 0) / len(latencies):.2f}" for part in PARTS]
        print(
            f"| {name} | {sessions:,} | {_median(rates[name]):,.0f} | "
            f"{_median(rates[name] / rates[BASE]):.2f} | {p50:.1f} | {p99:.1f} | "
            f"{' | '.join(cpu)} | "
            f"{loads[name].wrong()} of {loads[name].checked} |",
            flush=True,
        )
    return rates, loads


def _median(values: NDArray[np.float64]) -> float:
    return float(np.median(values))


def _print_sizes(bundle: Bundle, before: dict[str, Sizes], after: dict[str, Sizes]) -> None:
    state = sum(tensor.nbytes for tensor in bundle.manifest.state)
    print("\n| where a session is | bytes |\n|---|---|")
    print(f"| a device slot, reserved at the start | {state:,} |")
    held = after["redis always"].engine - before["redis always"].engine
    print(f"| held by the engine, growth of its memory | {held // MANY:,} |")
    redis = after["redis always"].store - before["redis always"].store
    print(f"| Redis, growth of used_memory | {redis // MANY:,} |")
    file = after["sqlite sync full"].store - before["sqlite sync full"].store
    print(f"| SQLite, growth of the file's pages in use | {file // MANY:,} |", flush=True)
