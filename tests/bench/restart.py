"""A clean restart: how soon its sessions answer, and that none of them replays a row."""

from __future__ import annotations

import time
from itertools import chain

from export.bundle import Bundle
from service.settings import Settings
from service.store.open import open_store
from service.store.store import SessionKey, Stored
from tests.bench.connection import connect
from tests.bench.footprint import pages_in_use
from tests.bench.load import Load, percentiles
from tests.bench.place import Place
from tests.bench.reference import Reference
from tests.service.serving import served

SAMPLE = 400


def heading() -> None:
    """Print the head of the table whose lines `report` prints."""
    print(
        "\n| store, restarted | sessions | rows to replay | stop s | start s | "
        "first answer p50 ms | p99 ms | second p50 ms | wrong |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)


async def report(bundle: Bundle, place: Place, load: Load) -> None:
    """Print a line: stop the server, look into its store, start it again and step a sample."""
    begun = time.monotonic()
    place.server.stop()
    stopped = time.monotonic() - begun
    waiting = await _rows_to_replay(place, load.ids)
    begun = time.monotonic()
    with served(place.folder, bundle.folder, **place.settings) as server:
        started = time.monotonic() - begun
        sample = range(0, len(load.ids), max(1, len(load.ids) // SAMPLE))
        first, second, wrong = await _answers(server.url, load, sample, Reference(bundle))
    (p50, p99), (again, _) = percentiles(first), percentiles(second)
    print(
        f"| {place.name} | {len(load.ids):,} | {waiting} | {stopped:.1f} | {started:.1f} | "
        f"{p50:.2f} | {p99:.2f} | {again:.2f} | {wrong} of {2 * len(first)} |"
    )
    if place.file.exists():
        size = place.file.stat().st_size
        print(
            f"\n{place.name}: the file has {size:,} bytes after the clean stop, "
            f"{pages_in_use(place.file):,} of them in use, for {len(load.ids):,} sessions and "
            f"{sum(load.steps):,} rows\n"
        )


async def _rows_to_replay(place: Place, ids: list[str]) -> int:
    """Records after the newest checkpoint, of all these sessions together."""
    store = await open_store(Settings.from_env(place.settings))
    found = [await store.load(SessionKey("default", name)) for name in ids]
    await store.close()
    assert all(isinstance(stored, Stored) for stored in found)
    return len(list(chain(*(s.records for s in found if isinstance(s, Stored)))))


async def _answers(
    url: str, load: Load, sample: range, reference: Reference
) -> tuple[list[float], list[float], int]:
    """Latencies of the first and the second answer of each, one request at a time, in
    milliseconds; and how many are not the reference's."""
    connection = await connect(url)
    took: tuple[list[float], list[float]] = ([], [])
    wrong = 0
    for number in sample:
        request, bodies = load.request(number), list[bytes]()
        for latencies in took:
            sent = time.monotonic()
            status, body = await connection.send(request)
            latencies.append((time.monotonic() - sent) * 1e3)
            assert status == 200, body
            bodies.append(body)
        wrong += reference.wrong(load.inputs[number], bodies, load.steps[number])
    connection.close()
    return *took, wrong
