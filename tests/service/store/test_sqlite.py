"""The SQLite store: one server a file, what it waits for, and what happens when the disk fails."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from service.settings import Settings
from service.store import sqlite_wal
from service.store.open import open_store, path_of
from service.store.sqlite import Durability, SqliteStore, open_sqlite
from service.store.sqlite_schema import MIGRATIONS
from service.store.store import (
    Committed,
    Gone,
    Retention,
    Stored,
    StoreUnavailable,
)
from tests.service.store.contract import creation, end, made, row_of, snapshot, step, stepped
from tests.service.store.sqlite_store import SMALL_LOG, inside, opened

HERE = Path(__file__).parent
PATIENT_S = 20.0


def blobs_in(path: Path) -> int:
    with inside(path) as db:
        return db.execute("SELECT count(*) FROM blobs").fetchone()[0]


async def test_the_settings_open_the_file_in_a_folder_it_makes(tmp_path: Path):
    path = tmp_path / "data" / "sessions.db"
    settings = Settings(store=f"sqlite://{path}", kept_replies=3, history_rows=5)
    store = await open_store(settings)
    assert isinstance(store, SqliteStore) and not store.shared
    await made(store, creation(row_of()))
    await store.close()

    assert path.stat().st_mode & 0o777 == 0o600
    async with opened(path) as store:
        assert await store.row(row_of().key) != Gone(None)


@pytest.mark.parametrize("url", ["sqlite://relative.db", "sqlite:///", "sqlite:///folder/"])
def test_a_url_without_an_absolute_path_is_refused(url: str):
    with pytest.raises(ValueError, match="expected sqlite:///absolute/path.db, got"):
        path_of(url)


@pytest.mark.parametrize("kind", ["sync", "async", "off"])
async def test_a_clean_stop_keeps_everything(tmp_path: Path, kind: str):
    durability = Durability(kind, async_window_s=60)  # pyright: ignore[reportArgumentType]
    async with opened(tmp_path / "s.db", durability) as store:
        row = await stepped(store, await made(store, creation(row_of())), 5, every=3)

    async with opened(tmp_path / "s.db") as store:
        stored = await store.load(row.key)
        assert isinstance(stored, Stored) and stored.row == row
        assert [record.step for record in stored.records] == [4, 5]
        assert await store.count(("copy", "1")) == 1


async def test_what_is_acknowledged_with_async_is_in_the_file_within_its_window(tmp_path: Path):
    async with opened(tmp_path / "s.db", Durability("async", async_window_s=0.05)) as store:
        row = await made(store, creation(row_of()))
        assert await store.row(row.key) == row  # seen before it is committed
        with inside(tmp_path / "s.db") as db:
            async with asyncio.timeout(PATIENT_S):
                while not db.execute("SELECT count(*) FROM sessions").fetchone()[0]:
                    await asyncio.sleep(0.005)


async def test_a_second_server_is_refused_until_the_first_has_closed(tmp_path: Path):
    async with opened(tmp_path / "s.db"):
        (tmp_path / "link.db").symlink_to(tmp_path / "s.db")
        for path in (tmp_path / "s.db", tmp_path / "link.db"):
            with pytest.raises(StoreUnavailable, match=f"another server.*process {os.getpid()}"):
                await open_sqlite(str(path), log_bytes=SMALL_LOG)
    async with opened(tmp_path / "s.db") as store:
        await made(store, creation(row_of()))


async def test_a_closed_store_refuses(tmp_path: Path):
    async with opened(tmp_path / "s.db") as store:
        await store.close()
        for call in (store.commit([creation(row_of())]), store.load(row_of().key)):
            with pytest.raises(StoreUnavailable, match="the store is closed"):
                await call


async def test_a_caller_that_gives_up_does_not_stop_the_commit(tmp_path: Path):
    async with opened(tmp_path / "s.db") as store:
        change = creation(row_of())
        task = asyncio.ensure_future(store.commit([change]))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await store.row(change.row.key) == change.row


async def test_equal_states_are_stored_once_and_go_with_the_last_that_has_them(tmp_path: Path):
    path, state = tmp_path / "s.db", os.urandom(12_000)
    async with opened(path) as store:
        parent = await made(store, creation(row_of("parent"), state=state))
        fork = await made(store, creation(row_of("fork"), state=state))
        fork = await made(store, step(fork, state=state))
        await made(store, snapshot(fork, "kept", state))
        assert blobs_in(path) == 1
        await made(store, end(fork))
        assert blobs_in(path) == 1
        stored = await store.load(parent.key)
        assert isinstance(stored, Stored) and stored.checkpoint.state == state
        await made(store, end(parent))
        assert blobs_in(path) == 0


async def test_ended_sessions_leave_nothing_but_a_tombstone_which_goes_too(tmp_path: Path):
    path = tmp_path / "s.db"
    async with opened(path, retention=Retention(tombstone_s=0)) as store:
        rows = [await made(store, creation(row_of(f"s{at}"), state=b"x")) for at in range(9)]
        rows = [await stepped(store, row, 3, every=2) for row in rows]
        rows = [await made(store, snapshot(row, "kept", b"kept")) for row in rows]
        await store.commit([end(row, "expired") for row in rows])
        await store.expired(0.0, 10)

    with inside(path) as db:
        for table in ("sessions", "records", "journal", "checkpoints", "states", "tombstones"):
            assert (table, db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]) == (table, 0)


async def test_the_log_is_as_long_as_it_gets_and_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sqlite_wal, "COPIED_AT", 50)
    log_file = tmp_path / "s.db-wal"
    async with opened(tmp_path / "s.db") as store:
        assert log_file.stat().st_size == SMALL_LOG
        row = await made(store, creation(row_of()))
        for _ in range(800):
            row = await made(store, step(row, state=os.urandom(8_000)))
        written = 800 * 8_000
        assert log_file.stat().st_size < written / 2
        stored = await store.load(row.key)
        assert isinstance(stored, Stored) and stored.row == row


async def test_a_disk_that_takes_no_more_costs_what_it_did_not_take(tmp_path: Path):
    async with opened(tmp_path / "s.db") as store:
        row = await stepped(store, await made(store, creation(row_of())), 3)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 * SMALL_LOG, hard))
        try:
            with pytest.raises(StoreUnavailable) as raised:
                await store.commit([step(row, state=os.urandom(8 * SMALL_LOG))])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        stored = await store.load(row.key)
        assert isinstance(stored, Stored) and stored.row == row
        assert raised.value.sent  # the commit was under way: who knows
        await stepped(store, row, 1)


async def test_a_file_that_is_no_store_is_refused_by_name(tmp_path: Path):
    (tmp_path / "noise.db").write_bytes(os.urandom(20_000))
    with inside(tmp_path / "other.db") as db:
        db.execute("CREATE TABLE theirs (x)")
    (tmp_path / "folder.db").mkdir()
    for name, told in (
        ("noise.db", "file is not a database"),
        ("other.db", "expected a store of sessions, got another SQLite file"),
        ("folder.db", "unable to open"),
        ("noise.db/in/it.db", "Not a directory"),
    ):
        with pytest.raises(StoreUnavailable, match=told):
            await open_sqlite(str(tmp_path / name), log_bytes=SMALL_LOG)
    with inside(tmp_path / "other.db") as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]


async def test_a_newer_file_is_refused_by_its_version(tmp_path: Path):
    async with opened(tmp_path / "s.db"):
        pass
    newer = len(MIGRATIONS) + 1
    with inside(tmp_path / "s.db") as db:
        db.execute(f"PRAGMA user_version = {newer}")
    with pytest.raises(StoreUnavailable, match=f"version {newer - 1} or older, got {newer}"):
        await open_sqlite(str(tmp_path / "s.db"), log_bytes=SMALL_LOG)


async def test_a_file_of_the_first_version_is_brought_up_to_date(tmp_path: Path):
    path = tmp_path / "s.db"
    db = sqlite3.connect(path)
    db.executescript((HERE / "sqlite_version_1.sql").read_text())
    db.close()

    async with opened(path) as store:
        (row,) = await store.rows("acme", None, 9, "copy")
        stored = await store.load(row.key)
        assert isinstance(stored, Stored)
        assert (stored.row.step, stored.row.revision) == (3, 4)
        assert stored.checkpoint.state == b"the state after 2"
        assert [(r.step, r.rows, r.key) for r in stored.records] == [(3, b"row 3", "k3")]
        assert await store.load(row_of("gone").key) == Gone("deleted")
        assert await store.usage("acme") == {(row.model, row.version): 1}
        assert await store.commit([step(row)]) == [Committed()]
    with inside(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert "sessions_model" in str(db.execute("SELECT name FROM sqlite_master").fetchall())


def test_the_service_opens_its_store_without_the_redis_client():
    code = "import service.store.open, sys; assert not {'redis', 'sqlite3'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_the_room_of_a_file_that_is_gone_cannot_be_told(tmp_path: Path):
    async with opened(tmp_path / "sessions.db") as store:
        room = await store.room()
        assert room is not None and room.free is not None and room.limit is not None
        assert 0 < room.used and 0 < room.free <= room.limit
        (tmp_path / "sessions.db").rename(tmp_path / "elsewhere.db")
        with pytest.raises(StoreUnavailable, match="sessions.db"):
            await store.room()
