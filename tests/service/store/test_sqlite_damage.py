"""What is damaged on the disk is told for its session alone, and never served as if whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from service.store.codec import session_columns
from service.store.sqlite import Durability, SqliteStore
from service.store.store import Committed, Damaged, SessionRow, Stored
from tests.service.store.contract import creation, made, row_of, snapshot, step
from tests.service.store.sqlite_store import inside, opened

PAGE = 4096
NAMES = ("a", "b", "c")
MARK = "b at %d of "


def content(name: str, at: int) -> bytes:
    """Long enough that no two sessions' records or states share a page."""
    return (MARK % at + name).encode() + name.encode() * 3900


async def filled(path: Path) -> dict[str, SessionRow]:
    """Three sessions alike: a checkpoint at step 2, a snapshot, and a last record after it."""
    rows: dict[str, SessionRow] = {}
    async with opened(path) as store:
        for name in NAMES:
            row = await made(store, creation(row_of(name), state=content(name, 0)))
            for at in (1, 2, 3):
                change = step(row, key=f"k{at}", state=content(name, at) if at == 2 else None)
                assert change.record is not None
                record = replace(change.record, rows=content(name, 10 + at))
                row = await made(store, replace(change, record=record))
                if at == 2:
                    await made(store, snapshot(row, "kept", content(name, 2)))
            rows[name] = row
    return rows


async def only_b_is_damaged(store: SqliteStore, rows: dict[str, SessionRow], told: str) -> None:
    found = await store.load(rows["b"].key)
    assert isinstance(found, Damaged) and told in found.detail, found
    for name in ("a", "c"):
        stored = await store.load(rows[name].key)
        assert isinstance(stored, Stored) and stored.row == rows[name]
        assert stored.checkpoint.state == content(name, 2)


def overwritten(path: Path, mark: bytes, by: bytes, page: bool = False) -> None:
    """Change the file where `mark` stands, or the beginning of that page."""
    data = bytearray(path.read_bytes())
    assert data.count(mark) == 1
    at = data.index(mark)
    at = at - at % PAGE if page else at
    data[at : at + len(by)] = by
    path.write_bytes(data)


DAMAGES = {
    "the record of revision 4 does not match": "UPDATE records SET outputs = 'x' WHERE step = 3",
    "the record of revision 3 does not match": (
        "UPDATE records SET key = CAST(x'ff' AS TEXT) WHERE step = 2"
    ),
    "a record before revision 4 is missing": "DELETE FROM records WHERE step = 3",
    "the session's row does not match": "UPDATE sessions SET incarnation = 'other'",
    "the checkpoint of revision 3 does not match": "UPDATE checkpoints SET step = 3 WHERE step = 2",
    "the state of revision 3 does not match": "UPDATE blobs SET body = zeroblob(99) WHERE TRUE",
    "the state of revision 3 is missing": "DELETE FROM states WHERE TRUE",
    "the session has no checkpoint": "DELETE FROM checkpoints WHERE TRUE",
}
OF_B = {
    "records": "id / 4294967296 = 2",
    "sessions": "sid = 2",
    "checkpoints": "sid = 2",
    "blobs": "instr(body, 'of b') > 0",
    "states": "hash IN (SELECT state FROM checkpoints WHERE sid = 2)",
}


@pytest.mark.parametrize("told", DAMAGES)
async def test_what_does_not_match_is_told_for_its_session_alone(tmp_path: Path, told: str):
    rows = await filled(tmp_path / "s.db")
    statement = DAMAGES[told]
    table = next(name for name in OF_B if f" {name}" in statement)
    joined = " AND " if "WHERE" in statement else " WHERE "
    with inside(tmp_path / "s.db") as db:
        if "record before" in told:  # one that a later one tells of
            db.execute("DELETE FROM checkpoints WHERE sid = 2 AND step = 2")
            statement = statement.replace("step = 3", "step = 2")
        assert db.execute(f"{statement}{joined}{OF_B[table]}").rowcount > 0

    async with opened(tmp_path / "s.db") as store:
        await only_b_is_damaged(store, rows, told)


@pytest.mark.parametrize("at", [2, 13])
async def test_flipped_bytes_on_the_disk_are_noticed(tmp_path: Path, at: int):
    path = tmp_path / "s.db"
    rows = await filled(path)
    mark = content("b", at)[:12]
    overwritten(path, mark, b"B" + mark[1:])

    async with opened(path) as store:
        await only_b_is_damaged(store, rows, "does not match its")


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_page_that_cannot_be_read_costs_its_session_alone(tmp_path: Path, kind: str):
    path = tmp_path / "s.db"
    rows = await filled(path)
    overwritten(path, content("b", 12)[:12], b"\xff" * 8, page=True)  # has b's second step alone

    durability = Durability(kind, False, 60.0)  # pyright: ignore[reportArgumentType]
    async with opened(path, durability) as store:
        row = await made(store, step(rows["a"]))
        rows["a"] = row  # with async in the open transaction that b's damage is met in
        await only_b_is_damaged(store, rows, "the file is damaged where the session is")
        for _ in range(2):
            changes = [step(rows[name]) for name in NAMES]
            outcomes = await store.commit(changes)
            assert [outcomes[0], outcomes[2]] == [Committed(), Committed()]
            assert isinstance(outcomes[1], Damaged)
            rows |= {"a": changes[0].row, "c": changes[2].row}
    async with opened(path, durability) as store:
        await only_b_is_damaged(store, rows, "the file is damaged where the session is")


async def test_a_change_that_cannot_be_stored_does_not_fail_its_tick(tmp_path: Path):
    async with opened(tmp_path / "s.db") as store:
        rows = [await made(store, creation(row_of(name))) for name in NAMES]
        changes = [step(row, key=f"k{row.id}") for row in rows]
        changes[1] = step(rows[1], key="\ud800")  # is no text that could be written
        outcomes = await store.commit(changes)
        assert [outcomes[0], outcomes[2]] == [Committed(), Committed()]
        assert isinstance(outcomes[1], Damaged)
        assert [await store.row(row.key) for row in rows] == [
            changes[0].row,
            rows[1],
            changes[2].row,
        ]


READS: dict[str, Callable[[SqliteStore, SessionRow], Awaitable[object]]] = {
    "row": lambda store, row: store.row(row.key),
    "at": lambda store, row: store.at(row.key, revision=4),
    "history": lambda store, row: store.history(row.key, None, 9),
    "snapshots": lambda store, row: store.snapshots(row.key),
    "commit": lambda store, row: _outcome(store, row),
}


async def _outcome(store: SqliteStore, row: SessionRow) -> object:
    a, b, c = await store.commit([step(row_of("a")), step(row), creation(row_of(f"like {row.id}"))])
    assert not isinstance(a, Damaged) and c == Committed()
    return b


@pytest.mark.parametrize("read", READS)
async def test_every_call_tells_a_damaged_session(tmp_path: Path, read: str):
    rows = await filled(tmp_path / "s.db")
    with inside(tmp_path / "s.db") as db:
        db.execute("UPDATE records SET rows = 'x' WHERE step = 3 AND id / 4294967296 = 2")

    async with opened(tmp_path / "s.db") as store:
        assert isinstance(await READS[read](store, rows["b"]), Damaged)
        assert not isinstance(await READS[read](store, rows["c"]), Damaged)


async def test_a_state_of_another_bundle_is_not_taken_for_the_sessions(tmp_path: Path):
    path = tmp_path / "s.db"
    async with opened(path) as store:
        rows = [
            await made(store, creation(row_of(name, fingerprint=f"bundle of {name}"), state=b"x"))
            for name in NAMES
        ]
    with inside(path) as db:  # b's row comes from a backup, say
        columns = session_columns(2, replace(rows[1], fingerprint="bundle of c"))
        db.execute(
            "UPDATE sessions SET fingerprint = ?, sum = ? WHERE sid = 2", (columns[5], columns[-1])
        )

    async with opened(path) as store:
        found = await store.load(rows[1].key)
        assert isinstance(found, Damaged) and "another bundle's" in found.detail
        assert isinstance(await store.load(rows[0].key), Stored)


async def test_lists_and_sweeps_pass_over_a_damaged_session(tmp_path: Path):
    await filled(tmp_path / "s.db")
    with inside(tmp_path / "s.db") as db:
        db.execute("UPDATE sessions SET model = 'other' WHERE sid = 2")

    async with opened(tmp_path / "s.db") as store:
        assert [row.id for row in await store.rows("acme", None, 2, None)] == ["a", "c"]
        assert [row.id for row in await store.expired(1e12, 9)] == ["a", "c"]


async def test_a_reply_that_is_damaged_is_not_given_again(tmp_path: Path):
    rows = await filled(tmp_path / "s.db")
    with inside(tmp_path / "s.db") as db:
        db.execute("UPDATE records SET outputs = 'x' WHERE key = 'k1' AND id / 4294967296 = 2")

    async with opened(tmp_path / "s.db") as store:
        repeat = step(rows["b"], key="k1")
        (outcome,) = await store.commit([repeat])
        assert isinstance(outcome, Damaged) and "revision 2" in outcome.detail


async def test_a_damaged_journal_is_told_for_its_session_alone(tmp_path: Path):
    path = tmp_path / "s.db"
    async with opened(path) as store:
        rows = [await made(store, creation(row_of(name))) for name in NAMES]
        rows = [await made(store, step(row)) for row in rows]
        with inside(path) as db:  # as a crash would leave it
            copy = tmp_path / "crashed.db"
            with inside(copy) as target:
                db.backup(target)
    with inside(copy) as db:
        assert db.execute("UPDATE journal SET outputs = 'x' WHERE id / 4294967296 = 2").rowcount

    async with opened(copy) as store:
        assert isinstance(await store.load(rows[1].key), Damaged)
        for row in (rows[0], rows[2]):
            stored = await store.load(row.key)
            assert isinstance(stored, Stored) and stored.row == row
