"""`ntm store` on a file, also while a server in another process writes to it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.cli import main as ntm
from service.store.command import main
from service.store.store import Stored
from tests.service.store.contract import creation, end, made, row_of, step
from tests.service.store.sqlite_store import inside, opened
from tests.service.store.test_sqlite_crash import CHILD, ROOT


class Server:
    """A process that steps sessions without end."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self.child = child

    def goes_on(self) -> int:
        """Wait for some more acknowledgements; the step that one of the last ones told."""
        assert self.child.stdout is not None
        for _ in range(50):
            line = self.child.stdout.readline()
        return int(line.split()[1])


@contextmanager
def serving(path: Path, kind: str = "sync") -> Iterator[Server]:
    command = [*CHILD, str(path), kind, "normal", "3", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        try:
            yield Server(child)
        finally:
            child.kill()


async def filled(path: Path) -> None:
    """A file with room in it."""
    async with opened(path) as store:
        rows = [
            await made(store, creation(row_of(f"old {at}"), state=os.urandom(20_000)))
            for at in range(100)
        ]
        kept = await made(store, creation(row_of("kept"), state=b"state"))
        await made(store, step(kept))
        await store.commit([end(row) for row in rows])


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_everything_works_while_a_server_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
):
    path, copy = tmp_path / "s.db", tmp_path / "copy.db"
    await filled(path)
    with serving(path, kind) as server:
        server.goes_on()
        assert main(["check", str(path)]) == 0
        server.goes_on()
        assert main(["backup", f"sqlite://{path}", str(copy)]) == 0
        server.goes_on()
        assert main(["compact", str(path)]) == 0
        with inside(path) as db:
            assert db.execute("PRAGMA freelist_count").fetchone()[0] < 100
        server.goes_on()
        assert main(["check", str(path)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].endswith(" sessions checked, 0 problems")
    assert told[1] == f"{copy}: {copy.stat().st_size} bytes"
    for file in (path, copy):
        assert main(["check", str(file)]) == 0
        async with opened(file) as store:
            for row in await store.rows("acme", None, 9, None):
                stored = await store.load(row.key)
                assert isinstance(stored, Stored) and stored.row == row
                assert row.step > 0
    assert copy.stat().st_mode & 0o777 == 0o600


async def test_compacting_gives_the_room_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "s.db"
    await filled(path)
    before = path.stat().st_size
    assert main(["compact", str(path)]) == 0
    after = path.stat().st_size
    assert before > 2_000_000 and after < 200_000
    assert capsys.readouterr().out == f"{path}: {before} bytes before, {after} after\n"


async def test_check_lists_what_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "s.db"
    async with opened(path) as store:
        for at in range(7):
            row = await made(store, creation(row_of(f"s{at}"), state=b"state %d" % at))
            row = await made(store, step(row, state=b"later %d" % at))
            await made(store, step(row))
    with inside(path) as db:
        db.execute("UPDATE sessions SET version = '7' WHERE id = 's1'")
        db.execute("UPDATE records SET rows = 'x' WHERE id = 3 * 4294967296 + 2")
        db.execute("UPDATE blobs SET body = 'x' WHERE body = ?", (b"state 3",))
        db.execute("DELETE FROM checkpoints WHERE sid = 5")
        db.execute("DELETE FROM records WHERE id = 6 * 4294967296 + 3")
        db.execute("UPDATE counts SET live = 9")

    assert main(["check", str(path)]) == 1

    told = capsys.readouterr().out.splitlines()
    for expected in (
        "damaged: acme/s1: the session's row does not match its checksum",
        "damaged: acme/s2: the record of revision 2 does not match its checksum",
        "damaged: acme/s3: the state of revision 1 does not match its hash",
        "damaged: acme/s4: the session has no checkpoint",
        "damaged: the file: 2 states are counted wrongly",
        "damaged: the file: sessions are counted wrongly",
    ):
        assert expected in told, told
    assert told[-1] == f"{path}: 7 sessions checked, 6 problems"


async def test_check_tells_a_file_whose_pages_are_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "s.db"
    await filled(path)
    data = bytearray(path.read_bytes())
    at = data.index(b"kept")
    data[at - at % 4096 : at - at % 4096 + 8] = b"\xff" * 8
    path.write_bytes(data)

    assert main(["check", str(path)]) == 1
    assert "damaged: " in capsys.readouterr().out


@pytest.mark.parametrize("action", ["check", "compact", "backup"])
def test_what_is_no_store_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], action: str
):
    with inside(tmp_path / "other.db") as db:
        db.execute("CREATE TABLE theirs (x)")
    last = [str(tmp_path / "copy.db")] if action == "backup" else []
    for store, told in (
        (str(tmp_path / "none.db"), "there is no such file"),
        (str(tmp_path / "other.db"), "expected a store of sessions, got another SQLite file"),
        ("redis://localhost/0", "expected a SQLite file or sqlite:///absolute/path.db, got"),
        ("memory", "expected a SQLite file"),
    ):
        assert main([action, store, *last]) == 2
        assert told in capsys.readouterr().err
    assert not (tmp_path / "copy.db").exists()


async def test_a_backup_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path, copy = tmp_path / "s.db", tmp_path / "copy.db"
    await filled(path)
    copy.write_text("mine")
    assert main(["backup", str(path), str(copy)]) == 2
    assert "expected a path with nothing there" in capsys.readouterr().err
    assert copy.read_text() == "mine"


async def test_without_a_path_it_is_the_store_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "s.db"
    await filled(path)
    monkeypatch.setenv("NTM_STORE", f"sqlite://{path}")
    assert ntm(["store", "check"]) == 0
    assert capsys.readouterr().out == f"{path}: 1 sessions checked, 0 problems\n"
    assert main(["backup", str(tmp_path / "copy.db")]) == 0


def test_it_tells_how_it_is_used():
    run = subprocess.run(
        [sys.executable, "-m", "service.store.command", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert all(action in run.stdout for action in ("check", "compact", "backup"))
