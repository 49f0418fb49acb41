"""Kill -9 at any moment: what was told is there, and it was on the disk before it was told."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.store.sqlite_check import Finding, check
from service.store.store import Replayed, Stored
from tests.service.store.contract import row_of, step
from tests.service.store.sqlite_child import EVERY, SESSIONS
from tests.service.store.sqlite_store import opened

CHILD = [sys.executable, "-m", "tests.service.store.sqlite_child"]
ROOT = Path(__file__).parents[3]
KILLS = 6


def killed_while_committing(path: Path, kind: str, lines: int) -> dict[str, int]:
    """Each session's last acknowledged step, after that many acknowledgements and a kill."""
    acknowledged: dict[str, int] = {}
    with subprocess.Popen(
        [*CHILD, str(path), kind, "normal", str(SESSIONS), "0"],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        for at, line in enumerate(child.stdout):
            name, taken = line.split()
            acknowledged[name] = int(taken)
            if at == lines:
                child.kill()
    return acknowledged


async def test_what_was_acknowledged_before_a_kill_is_there(tmp_path: Path):
    path, seed = tmp_path / "s.db", 5
    total = 0
    for at in range(KILLS):
        lines = random.Random(seed + at).randrange(SESSIONS, 400)
        acknowledged = killed_while_committing(path, "sync", lines)
        async with opened(path) as store:
            for name, taken in acknowledged.items():
                stored = await store.load(row_of(name).key)
                assert isinstance(stored, Stored)
                assert stored.row.step >= taken, (at, name)
                assert stored.row.step - taken <= 1  # what was under way
                assert stored.checkpoint.step == stored.row.step - stored.row.step % EVERY
                assert stored.checkpoint.state == b"at %d" % stored.checkpoint.step
                for record in stored.records:
                    assert record.outputs == bytes([record.step % 241]) * 3
                total += taken
                if taken:
                    repeat = step(stored.row, key=f"k{taken}")
                    (outcome,) = await store.commit([repeat])
                    assert isinstance(outcome, Replayed) and outcome.record.step == taken
        assert not [found for found in check(str(path)) if isinstance(found, Finding)]
    assert total > 0


async def test_what_a_kill_takes_with_async_is_the_end_of_it(tmp_path: Path):
    path = tmp_path / "s.db"
    acknowledged = killed_while_committing(path, "async", 600)

    assert not [found for found in check(str(path)) if isinstance(found, Finding)]
    async with opened(path) as store:
        for row in await store.rows("acme", None, 9, None):
            stored = await store.load(row.key)
            assert isinstance(stored, Stored) and stored.row == row
            assert row.step <= acknowledged[row.id] + 1


def traced(path: Path, sync: str, tmp_path: Path) -> list[str]:
    """The calls of a child that commits one step after the other."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    log = tmp_path / "strace.log"
    calls = "trace=fsync,fdatasync,pwrite64,pwritev,write"
    command = [strace, "-f", "-y", "-qq", "-e", calls, "-o", str(log)]
    child = [*CHILD, str(path), "sync", sync, "1", "20"]
    run = subprocess.run([*command, *child], cwd=ROOT, capture_output=True, text=True)
    if run.returncode and "ptrace" in run.stderr:
        pytest.skip(f"strace may not trace here: {run.stderr.strip()}")
    assert run.returncode == 0, run.stderr
    return log.read_text().splitlines()


TOLD = re.compile(r'write\(1<.*>, "s\d ')
LOG_WRITTEN = re.compile(r"pwrite64\(\d+<.*s\.db-wal>")
LOG_SYNCED = re.compile(r"f(data)?sync\(\d+<.*s\.db-wal>")
RESUMED = re.compile(r"(\d+) .*<\.\.\. f(data)?sync resumed>.* = 0")


def barriers(lines: list[str]) -> list[bool]:
    """For each acknowledgement: was all that was written to the log synced when it was told?"""
    dirty, told, syncing = False, [], set[str]()
    for line in lines:
        thread = line.split()[0]
        if LOG_WRITTEN.search(line):
            dirty = True
        elif LOG_SYNCED.search(line):
            if line.endswith("<unfinished ...>"):
                syncing.add(thread)
            else:
                assert line.endswith("= 0"), line
                dirty = False
        elif RESUMED.search(line) and thread in syncing:
            syncing.discard(thread)
            dirty = False
        elif TOLD.search(line):
            told.append(not dirty)
    return told


def test_the_log_is_synced_before_a_step_is_acknowledged(tmp_path: Path):
    told = barriers(traced(tmp_path / "s.db", "full", tmp_path))

    assert len(told) == 21 and all(told)


def test_with_normal_it_is_not_which_is_what_its_name_says(tmp_path: Path):
    told = barriers(traced(tmp_path / "s.db", "normal", tmp_path))

    assert len(told) == 21 and not all(told)
