"""At every moment the file tells what the running store tells, should it be killed then."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from service.store import sqlite_journal, sqlite_reads
from service.store.sqlite import SqliteStore
from service.store.sqlite_journal import columns_of, waiting_in
from service.store.sqlite_reads import View
from service.store.sqlite_schema import connect
from service.store.store import Change, Checkpoint, Retention, SessionRow
from tests.service.store.contract import creation, end, made, move, row_of, step
from tests.service.store.sqlite_store import inside, opened

NAMES = ("a", "b", "c", "d")


def changed(row: SessionRow, draw: random.Random, sessions: int) -> Change:
    """Mostly steps; now and then a checkpoint alone, a reset, or an end."""
    what = draw.random()
    if what < 0.1:
        checkpoint = Checkpoint(row.revision, row.step, b"alone")
        return Change(row, (row.incarnation, row.revision), checkpoint=checkpoint)
    if what < 0.15:
        return move(row, "reset", 0)
    if what < 0.2 and sessions > 1:
        return end(row)
    rows = 300 if what < 0.25 else 1  # the first are large
    return step(row, rows, key=f"k{row.revision}", state=b"with" if what > 0.8 else None)


async def told_alike(store: SqliteStore, db: sqlite3.Connection) -> None:
    view = View(db, partial(columns_of, waiting_in(db)))
    for name in NAMES:
        key = row_of(name).key
        assert sqlite_reads.load(view, key, 3) == await store.load(key)
        assert sqlite_reads.history(view, key, None, 99) == await store.history(key, None, 99)


@pytest.mark.parametrize("history_rows", [0, 9])
async def test_a_crash_after_any_commit_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, history_rows: int
):
    monkeypatch.setattr(sqlite_journal, "KEPT_ROWS", 20)
    monkeypatch.setattr(sqlite_journal, "KEPT_RECORDS", 5)
    monkeypatch.setattr(sqlite_journal, "CLEARED_ROWS", 4)
    draw, path = random.Random(7), tmp_path / "s.db"
    rows: dict[str, SessionRow] = {}
    async with opened(path, retention=Retention(3, history_rows, 4)) as store:
        with closing(connect(str(path))) as db:
            for at in range(300):
                name = draw.choice(NAMES)
                if name in rows:
                    change = changed(rows[name], draw, len(rows))
                else:
                    change = creation(row_of(name, incarnation=f"i{at}"))
                rows[name] = await made(store, change)
                if change.ended:
                    del rows[name]
                await told_alike(store, db)


async def test_the_journal_is_kept_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sqlite_journal, "KEPT_ROWS", 40)
    monkeypatch.setattr(sqlite_journal, "CLEARED_ROWS", 10)
    path = tmp_path / "s.db"
    async with opened(path) as store:
        idle = await made(store, step(await made(store, creation(row_of("idle")))))
        row = await made(store, creation(row_of("busy")))
        for at in range(200):
            row = await made(store, step(row, state=b"x" if at % 8 == 7 else None))
            with inside(path) as db:
                (length,) = db.execute("SELECT count(*) FROM journal").fetchone()
                assert length <= 40 + 10 + 1
        assert await store.row(idle.key) == idle
    with inside(path) as db:  # a clean stop leaves none
        assert db.execute("SELECT count(*) FROM journal").fetchone() == (0,)


async def test_large_records_and_those_with_their_checkpoint_are_written_once(tmp_path: Path):
    path = tmp_path / "s.db"
    async with opened(path) as store:
        row = await made(store, creation(row_of()))
        row = await made(store, step(row, 500))
        await made(store, step(row, state=b"x"))
        with inside(path) as db:
            assert db.execute("SELECT count(*) FROM journal").fetchone() == (0,)
            assert db.execute("SELECT count(*) FROM records").fetchone() == (3,)
