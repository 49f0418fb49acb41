from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.keys import KEY, read_file
from tests.service.keyed import listed, new_key, run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_new_key_is_printed_once_and_listed_without_its_secret(path: Path):
    status, text = run("create", "--file", str(path), "--tenant", "acme", "--note", "the robots")
    assert status == 0 and KEY.fullmatch(text.strip().encode())
    (row,) = listed(path)
    assert (row["tenant"], row["scopes"], row["note"]) == ("acme", "read,step", "the robots")
    assert row["id"] == text.split("_")[1] and row["expires"] == ""
    table = run("list", "--file", str(path))[1]
    assert "acme" in table and text.strip().split("_")[2] not in table


def test_a_key_as_json_tells_the_key_itself(path: Path):
    made = json.loads(
        run("create", "--file", str(path), "--tenant", "acme", "--scope", "admin", "--json")[1]
    )
    assert made["scopes"] == "admin" and made["key"].split("_")[1] == made["id"]


def test_a_key_may_expire(path: Path):
    new_key(path, "acme", expires_in="90d")
    (key,) = read_file(path).keys
    assert key.expires_at is not None
    assert abs(key.expires_at - key.created_at - 90 * 86_400) < 1


def test_a_revoked_key_is_gone_and_an_unknown_one_is_told(
    path: Path, capsys: pytest.CaptureFixture[str]
):
    first, second = new_key(path, "acme"), new_key(path, "bell")
    assert run("revoke", "--file", str(path), first.split("_")[1])[0] == 0
    assert [row["id"] for row in listed(path)] == [second.split("_")[1]]
    assert run("revoke", "--file", str(path), first.split("_")[1])[0] == 1
    assert "expected the id of a key" in capsys.readouterr().err


def test_many_that_write_at_once_lose_no_key(path: Path):
    command = [sys.executable, "-m", "service.cli", "keys", "create", "--file", str(path)]
    with ThreadPoolExecutor(4) as pool:
        done = list(
            pool.map(
                lambda at: subprocess.run([*command, "--tenant", f"t{at}"], check=True), range(8)
            )
        )
    assert len(done) == 8 and {row["tenant"] for row in listed(path)} == {
        f"t{at}" for at in range(8)
    }


def test_a_change_keeps_who_may_read_the_file_and_where_a_link_leads(tmp_path: Path):
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    new_key(real, "acme")
    os.chmod(real, 0o640)
    link.symlink_to(real)
    new_key(link, "bell")
    assert link.is_symlink() and real.stat().st_mode & 0o777 == 0o640
    assert [row["tenant"] for row in listed(real)] == ["acme", "bell"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "--tenant", "a/b"),
        ("create", "--tenant", ""),
        ("create", "--tenant", "acme", "--scope", "root"),
        ("create", "--tenant", "acme", "--expires-in", "soon"),
        ("create", "--tenant", "acme", "--expires-in", "-1d"),
        ("create", "--tenant", "acme", "--note", "a\nb"),
        ("create",),
        ("revoke",),
        ("nothing",),
    ],
)
def test_arguments_that_are_none_change_nothing(path: Path, arguments: tuple[str, ...]):
    with pytest.raises(SystemExit) as left:
        run(arguments[0], "--file", str(path), *arguments[1:])
    assert left.value.code == 2 and not path.exists()


def test_a_damaged_file_is_told_and_left_as_it_is(path: Path, capsys: pytest.CaptureFixture[str]):
    path.write_text("{")
    assert run("create", "--file", str(path), "--tenant", "acme")[0] == 1
    assert run("list", "--file", str(path))[0] == 1
    assert "ntm keys: " in capsys.readouterr().err and path.read_text() == "{"


def test_the_file_is_named_or_nothing_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], path: Path
):
    monkeypatch.delenv("NTM_KEYS", raising=False)
    assert run("list")[0] == 2
    assert "--file or NTM_KEYS" in capsys.readouterr().err
    monkeypatch.setenv("NTM_KEYS", str(path))
    assert run("create", "--tenant", "acme")[0] == 0
    assert len(listed(path)) == 1
