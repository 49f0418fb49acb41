"""Processes killed with SIGKILL, at random and at named points: nothing acknowledged is lost, and
nothing is done twice. CRASH_KILLS says how many at random."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.crash.crowd import Crowd, crowd, eventually
from tests.service.crash.engine import POINTS
from tests.service.crash.reference import Versions
from tests.service.crash.victim import STORES, Victim, file_of, victim

KILLS = int(os.environ.get("CRASH_KILLS", "8"))
HITS = max(1, KILLS // 10)  # of each point
BEHIND = ("committed", "mid_reply")  # points at which a change is made and not told
KINDS = ("create", "step", "restore", "reset", "migrate", "snapshot")  # a fork is a creation
REPLAYED = ("fork", "steps", "restore", "reset", "migrate", "snapshots")  # so the paths end
CLIENTS = 32
LONG_S = 120.0  # for a point to be hit, or for that much to be done
MODULES = ("crash.engine", "service.front")

pytestmark = pytest.mark.crash


async def _kill_at_random(victim: Victim, crowd: Crowd) -> None:
    """After ever so much work, or none: then what has just been started is killed at its start."""
    for _ in range(KILLS):
        enough = crowd.seen["mutations"] + random.randint(0, 150)
        await eventually(lambda enough=enough: crowd.seen["mutations"] >= enough, LONG_S)
        await victim.kill(random.choice(MODULES))


async def _kill_at_points(victim: Victim, crowd: Crowd) -> None:
    """Arm one point after the other until each has been hit, and repeats were answered where the
    engine dies behind a commit."""
    for point in POINTS:
        enough = crowd.seen["replayed"] + (point in BEHIND)
        victim.arm(point, 0.02)
        await eventually(lambda point=point: victim.hits(point) >= HITS, LONG_S)
        await eventually(lambda enough=enough: crowd.seen["replayed"] >= enough, LONG_S)
        victim.disarm(point)


async def _kill_behind_each_kind(victim: Victim, crowd: Crowd) -> None:
    """Each kind of mutation is committed, and its client not told."""
    for kind in KINDS:
        hits = victim.hits("committed")
        victim.arm("committed", 0.5, kind)
        await eventually(lambda hits=hits: victim.hits("committed") > hits, LONG_S)
        victim.disarm("committed")
    await eventually(lambda: all(crowd.seen[f"replayed {kind}"] for kind in REPLAYED), LONG_S)


async def _torment(victim: Victim, versions: Versions) -> Crowd:
    async with crowd(victim.server.url, versions, CLIENTS) as clients:

        async def disturb() -> None:
            await _kill_at_random(victim, clients)
            await _kill_at_points(victim, clients)
            await _kill_behind_each_kind(victim, clients)

        await clients.live(disturb())
        await victim.kill("crash.engine")  # what is compared comes from the store
        await clients.compare()
        return clients


@pytest.mark.parametrize("store", STORES)
def test_nothing_is_lost_and_nothing_done_twice(
    tmp_path: Path, bundles: Path, versions: Versions, store: str
):
    with victim(tmp_path, bundles, store) as hunted:
        seen = asyncio.run(_torment(hunted, versions)).seen
        hits = {point: hunted.hits(point) for point in POINTS}
        print(f"{store}: {KILLS} kills at random, {hits} at points; {dict(seen)}")
        assert min(hits.values()) >= HITS
        assert hunted.server.stop() == 0
    if store == "sqlite":
        command = [sys.executable, "-m", "service.cli", "store", "check", str(file_of(tmp_path))]
        told = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert f"{CLIENTS} sessions checked, 0 problems" in told.stdout, told


@pytest.mark.parametrize("store", STORES)
def test_a_store_that_drops_one_commit_is_found_out(
    tmp_path: Path, bundles: Path, versions: Versions, store: str
):
    with victim(tmp_path, bundles, store) as hunted:

        async def drop() -> None:
            async with crowd(hunted.server.url, versions, CLIENTS) as clients:
                await clients.live(_drop_one(hunted, clients))
                await hunted.kill("crash.engine")
                await clients.compare()

        with pytest.raises(AssertionError):
            asyncio.run(drop())
        assert hunted.hits("drop") == 1


async def _drop_one(victim: Victim, crowd: Crowd) -> None:
    await eventually(lambda: crowd.seen["mutations"] > CLIENTS, LONG_S)
    victim.arm("drop", 1)
    await eventually(lambda: victim.hits("drop"), LONG_S)
