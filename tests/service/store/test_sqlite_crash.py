"""Kill -9 at any moment: what was acknowledged is there. And it is on the disk before it is told."""

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
from tests.service.store.sqlite_store import inside, opened

CHILD = [sys.executable, "-m", "tests.service.store.sqlite_child"]
ROOT = Path(__file__).parents[3]
KILLS = 6


def killed_while_committing(path: Path, kind: str, lines: int) -> dict[str, int]:
    """Each session's last acknowledged step, after that many acknowledgements and a kill."""
    acknowledged: dict[str, int] = {}
    with subprocess.Popen(
        [*CHILD, str(path), kind, "normal", "0"], stdout=subprocess.PIPE, cwd=ROOT, text=True
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


def test_what_is_lost_with_async_is_the_last_of_each_session(tmp_path: Path):
    path = tmp_path / "s.db"
    acknowledged = killed_while_committing(path, "async", 300)
    findings = [found for found in check(str(path)) if isinstance(found, Finding)]
    assert not findings and acknowledged
    with inside(path) as db:  # whole as of one commit
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def traced(path: Path, sync: str, tmp_path: Path) -> list[str]:
    """The calls of a child that commits one step after the other, one thread after the other."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    log = tmp_path / "strace.log"
    calls = "trace=fsync,fdatasync,pwrite64,pwritev,write"
    command = [strace, "-f", "-y", "-qq", "-e", calls, "-o", str(log)]
    child = [*CHILD, str(path), "sync", sync, "4"]
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

    assert len(told) == SESSIONS * 5 and all(told)


def test_with_normal_it_is_not_which_is_what_its_name_says(tmp_path: Path):
    told = barriers(traced(tmp_path / "s.db", "normal", tmp_path))

    assert len(told) == SESSIONS * 5 and not all(told)
