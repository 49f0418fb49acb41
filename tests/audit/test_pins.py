"""What pip finds for a pin, from an index of our own, and what is wrong with it."""

import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from tests.audit.pins import Offer, groups, offered, problems, read, yanked

NAME = "ntm-audit-sample"


def wheel(folder: Path, version: str) -> Path:
    """A wheel with nothing in it."""
    stem = f"{NAME.replace('-', '_')}-{version}"
    path = folder / f"{stem}-py3-none-any.whl"
    about = f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {version}\n"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(f"{stem}.dist-info/METADATA", about)
        packed.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        packed.writestr(f"{stem}.dist-info/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index with version 1.0, and 1.1, which was taken back."""
    folder = tmp_path / NAME
    folder.mkdir()
    links = ""
    for version, mark in (("1.0", ""), ("1.1", 'data-yanked="broken"')):
        path = wheel(folder, version)
        digest = sha256(path.read_bytes()).hexdigest()
        links += f'<a href="{path.name}#sha256={digest}" {mark}>{path.name}</a>\n'
    (folder / "index.html").write_text(f"<!doctype html><html><body>{links}</body></html>")
    monkeypatch.setenv("PIP_INDEX_URL", tmp_path.as_uri())
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def test_a_pin_that_is_there_is_offered_with_its_hash(index: Path):
    found, warnings = offered({NAME: "1.0"})
    assert found == {(NAME, "1.0"): Offer(True, ())} and yanked(warnings) == []


def test_a_pin_that_was_taken_back_is_told(index: Path):
    _, warnings = offered({NAME: "1.1"})
    assert yanked(warnings) == [f"{NAME}==1.1: it was yanked"]


def test_a_pin_that_is_not_there_is_refused(index: Path):
    with pytest.raises(RuntimeError, match="No matching distribution"):
        offered({NAME: "1.2"})


def test_a_lock_is_read_and_two_that_differ_are_asked_for_apart(tmp_path: Path):
    lock = tmp_path / "requirements-some.lock"
    lock.write_text("# said\nOne==1\n two==2\n")
    assert read(lock) == {"one": "1", "two": "2"}
    first, second = groups([read(lock), {"one": "3"}])
    assert [*first.items(), *second.items()].count(("two", "2")) == 1
    assert {first["one"], second["one"]} == {"1", "3"}


def test_what_is_missing_unhashed_or_does_not_fit_is_told():
    found = {
        ("one", "1"): Offer(True, ("two>=2", "three; python_version < '3'", "four; extra == 'x'")),
        ("two", "1"): Offer(False, ("absent", "nvidia-some", "pip")),
    }
    told = list(problems({"one": "1", "two": "1", "five": "5"}, found))
    assert told == [
        "one==1 needs two>=2: the lock has 1",
        "two==1: the index tells no sha256 of it",
        "two==1 needs absent: the lock has none",
        "five==5: the index has none",
    ]
