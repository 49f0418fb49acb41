from __future__ import annotations

import hmac
import logging
import os
from pathlib import Path
from time import time
from typing import Any

import msgspec
import pytest

from service import keys
from service.environ import SettingsError
from service.keys import FORMAT, LOOK_S, Identity, KeyFile, Keyring, read_file, sha256
from tests.service.keyed import new_key, revoke


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_(self) -> None:
        self.now += LOOK_S


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_key_is_known_by_its_tenant_and_scopes_and_nothing_else_is(path: Path):
    key = new_key(path, "acme", "read", "step")
    ring = Keyring(path)
    found = ring.identify(key.encode())
    assert found == Identity("acme", frozenset({"read", "step"}), key.split("_")[1])

    head, name, secret = key.split("_")
    other = "b" if secret[0] == "a" else "a"
    for wrong in (
        "", head, f"{head}_{name}", f"{head}_{name}_", key[:-1], key + "a", key.upper(), f" {key}",
        f"{head}_{name}_{other}{secret[1:]}", f"{head}_{name[::-1]}_{secret}", key + "\n",
    ):  # fmt: skip
        assert ring.identify(wrong.encode()) is None, wrong


def test_the_file_has_no_key_only_hashes(path: Path):
    key = new_key(path, "acme")
    text = path.read_text()
    assert key not in text and key.split("_")[2] not in text
    assert sha256(key.encode()) in text
    assert path.stat().st_mode & 0o777 == 0o600


def test_hashes_are_compared_in_constant_time_for_known_and_unknown_ids_alike(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    key = new_key(path, "acme")
    ring, compared = Keyring(path), list[tuple[str, str]]()

    def watched(a: Any, b: Any) -> bool:
        compared.append((a, b))
        return real(a, b)

    real = hmac.compare_digest
    monkeypatch.setattr(keys.hmac, "compare_digest", watched)
    name, secret = key.split("_")[1:]
    for given in (key, f"ntm_{name}_{secret[::-1]}", f"ntm_{name[::-1]}_{secret}", "nonsense"):
        ring.identify(given.encode())
    assert [len(a) == len(b) == 64 for a, b in compared] == [True] * 4


def test_a_key_that_comes_goes_or_expires_does_so_without_a_restart(path: Path):
    clock = Clock()
    first = new_key(path, "acme")
    ring = Keyring(path, clock)
    second = new_key(path, "acme")
    clock.pass_()
    met = [ring.identify(key.encode()) for key in (first, second)]
    assert [found is not None and found.tenant for found in met] == ["acme", "acme"]
    assert met[0] and ring.stands(met[0])

    revoke(path, first)
    clock.pass_()
    assert ring.identify(first.encode()) is None and not ring.stands(met[0])
    assert ring.identify(second.encode()) is not None

    content = read_file(path)
    past = tuple(msgspec.structs.replace(key, expires_at=time() - 1) for key in content.keys)
    path.write_bytes(msgspec.json.encode(KeyFile(FORMAT, past)))
    clock.pass_()
    assert ring.identify(second.encode()) is None


def test_a_key_whose_scopes_or_tenant_changed_must_be_shown_again(path: Path):
    clock = Clock()
    key = new_key(path, "acme", "read", "step")
    ring = Keyring(path, clock)
    found = ring.identify(key.encode())
    (kept,) = read_file(path).keys
    path.write_bytes(
        msgspec.json.encode(KeyFile(FORMAT, (msgspec.structs.replace(kept, scopes=("read",)),)))
    )
    clock.pass_()
    assert found is not None and not ring.stands(found)


@pytest.mark.parametrize("how", ["broken", "missing", "of another format"])
def test_a_file_that_cannot_be_read_any_more_leaves_the_last_good_keys(
    path: Path, how: str, caplog: pytest.LogCaptureFixture
):
    clock = Clock()
    key = new_key(path, "acme")
    ring = Keyring(path, clock)
    if how == "missing":
        path.unlink()
    else:
        path.write_text('{"format": 2, "keys": []}' if "format" in how else "{")
    with caplog.at_level(logging.ERROR):
        clock.pass_()
        assert ring.identify(key.encode()) is not None
        clock.pass_()
        assert ring.identify(key.encode()) is not None
    assert not ring.current
    assert len(caplog.records) == 1 and "stay as they were" in caplog.text

    path.unlink(missing_ok=True)
    other = new_key(path, "bell")
    clock.pass_()
    assert ring.identify(other.encode()) is not None and ring.current
    assert ring.identify(key.encode()) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read: No such file"),
        ("", "expected a file that"),
        ("[]", "expected a file that"),
        ('{"format": 3, "keys": []}', "expected a file that"),
        ('{"format": 1, "keys": [], "more": 1}', "unknown field"),
        ('{"format": 1, "keys": [{"id": "../../x"}]}', "expected a file that"),
        ("\udcff", "expected a file that"),
    ],
)
def test_a_file_that_is_none_is_refused_at_the_start(path: Path, text: str | None, said: str):
    if text is not None:
        path.write_text(text, errors="surrogateescape")
    with pytest.raises(SettingsError, match=said):
        Keyring(path)


def test_a_file_that_everybody_can_write_to_is_refused(path: Path):
    new_key(path, "acme")
    os.chmod(path, 0o666)
    with pytest.raises(SettingsError, match="not everybody can write"):
        Keyring(path)


def test_two_keys_of_one_id_are_refused(path: Path):
    new_key(path, "acme")
    (key,) = read_file(path).keys
    path.write_bytes(msgspec.json.encode(KeyFile(FORMAT, (key, key))))
    with pytest.raises(SettingsError, match="two keys have one id"):
        read_file(path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tenant": "a/b"}, {"tenant": ""}, {"tenant": "a\n"}, {"tenant": "x" * 65}, {"scopes": []},
        {"scopes": ["root"]}, {"sha256": "0"}, {"id": "UPPER23456"}, {"note": "x" * 201},
    ],
)  # fmt: skip
def test_a_key_of_the_file_is_checked(path: Path, wrong: dict[str, Any]):
    new_key(path, "acme")
    content = msgspec.json.decode(path.read_bytes())
    content["keys"][0] |= wrong
    path.write_bytes(msgspec.json.encode(content))
    with pytest.raises(SettingsError):
        read_file(path)
