"""What a server's requests cost when it knows a million sessions, beside one that knows a thousand.

The sessions are written by the store itself, as a creation writes them, before the servers start.
Both servers are up at once and are asked in turns, to and fro.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from export.bundle import Bundle, read_bundle
from service.keys import EVERYBODY
from service.settings import Settings
from service.store.open import open_store
from service.store.store import Change, Checkpoint, SessionRow
from tests.bench.connection import Connection, connect, get, post
from tests.bench.footprint import pages_in_use, sizes_of
from tests.bench.place import Place, opened

FEW = 1_000
TOGETHER = 5_000  # sessions in one commit
TURNS = 9
ASKED = 60  # of each kind in a turn
KINDS = ("create", "step a known one", "step again", "list a page")


def report(entry: Path, many: int) -> None:
    """Print the table. many: sessions of the larger server."""
    bundle = read_bundle(entry / "bundle")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        places: dict[int, Place] = {}
        for count in (FEW, many):
            file = Path(folder) / f"{count}.db"
            begun = time.monotonic()
            asyncio.run(_known(bundle, file, count))
            print(f"\n{count:,} sessions written in {time.monotonic() - begun:.0f} s", flush=True)
            settings = {
                "NTM_STORE": f"sqlite://{file}", "NTM_MAX_SESSIONS": str(2 * many),
                "NTM_DURABILITY": "off",
            }  # fmt: skip
            begun = time.monotonic()
            places[count] = opened(f"{count}", settings, bundle, Path(folder) / f"{count}", stack)
            print(f"{count:,} sessions: ready in {time.monotonic() - begun:.1f} s", flush=True)
        asyncio.run(_report(bundle, places))


async def _known(bundle: Bundle, file: Path, count: int) -> None:
    """A store that knows as many sessions, none of which ever stepped."""
    settings = Settings(store=f"sqlite://{file}", durability="off", max_sessions=count)
    store, now = await open_store(settings), time.time()
    name, version = bundle.manifest.name, bundle.manifest.version
    for first in range(0, count, TOGETHER):
        rows = [
            SessionRow(
                EVERYBODY, _id(number), name, version, bundle.fingerprint, f"{number:08x}", 1, 0,
                now, now, 864_000.0,
            )
            for number in range(first, min(first + TOGETHER, count))
        ]  # fmt: skip
        await store.commit([Change(row, None, None, Checkpoint(1, 0, None)) for row in rows])
    await store.close()


def _id(number: int) -> str:
    return f"known-{number:07}"


async def _report(bundle: Bundle, places: dict[int, Place]) -> None:
    took: dict[tuple[str, int], list[float]] = {(k, c): [] for k in KINDS for c in places}
    for turn in range(TURNS):
        for count, place in list(places.items())[:: 1 if turn % 2 == 0 else -1]:
            connection = await connect(place.url)
            for kind, ms in (await _turn(bundle, connection, count, turn)).items():
                took[kind, count].append(ms)
            connection.close()
    few, many = places
    print(f"\n| request | {few:,} sessions: p50 ms | {many:,}: p50 ms | ratio, median of turns |")
    print("|---|---|---|---|")
    for kind in KINDS:
        one, other = np.array(took[kind, few]), np.array(took[kind, many])
        ratio = float(np.median(other / one))
        print(f"| {kind} | {np.median(one):.2f} | {np.median(other):.2f} | {ratio:.2f} |")
    sizes = sizes_of(list(places.values()))
    engine = sizes[f"{many}"].engine - sizes[f"{few}"].engine
    files = [place.folder.parent / f"{count}.db" for count, place in places.items()]
    stored = pages_in_use(files[1]) - pages_in_use(files[0])
    print(
        f"\nan idle session: {engine / (many - few):.0f} bytes in the engine, "
        f"{stored / (many - few):.0f} in the store"
    )


async def _turn(bundle: Bundle, connection: Connection, count: int, turn: int) -> dict[str, float]:
    """The median of each kind, in milliseconds."""
    random = np.random.default_rng(turn)
    row = [0.0] * bundle.manifest.input.dims[0]
    known = [_id(int(n)) for n in random.choice(count, ASKED, replace=False)]
    steps = [post(f"/v1/sessions/{name}/steps", {"inputs": [row]}) for name in known]
    cursors = random.choice(count, ASKED)
    asked = {
        "create": [post(f"/v1/models/{bundle.manifest.name}/sessions", {})] * ASKED,
        "step a known one": steps,
        "step again": steps,
        "list a page": [get(f"/v1/sessions?limit=100&cursor={_id(int(n))}") for n in cursors],
    }
    return {kind: await _median_ms(connection, requests) for kind, requests in asked.items()}


async def _median_ms(connection: Connection, requests: list[bytes]) -> float:
    found: list[float] = []
    for request in requests:
        begun = time.monotonic()
        status, body = await connection.send(request)
        found.append((time.monotonic() - begun) * 1e3)
        assert status in (200, 201), body
    return float(np.median(found))
