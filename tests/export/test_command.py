from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import save_file

from export import command
from export.bundle import INITIAL_STATE, STEP_ONNX, STEP_TORCHSCRIPT, read_bundle
from export.command import main
from model.families import CARD, WEIGHTS, Card, build
from tests.export.conftest import SMALL


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained zoo entry with its bundle. Read only: tests that change one take `entry`."""
    entry = tmp_path_factory.mktemp("zoo") / "tiny"
    entry.mkdir()
    torch.manual_seed(2)
    save_file(build("ntm", SMALL).state_dict(), entry / WEIGHTS)
    card = Card(
        name="tiny",
        version="3",
        family="ntm",
        task="copy",
        network=SMALL,
        activation="softmax",
        form={"kind": "bits", "width": 5, "flags": ["delimiter"]},
        command="ntm train copy",
        seed=2,
        results={"wrong_bits": 0.5},
    )
    (entry / CARD).write_bytes(msgspec.json.encode(card))
    out = tmp_path_factory.mktemp("out") / "deep" / "elsewhere"
    assert main([str(entry), "--out", str(out)]) == 0
    shutil.copytree(out, entry / "bundle")
    return entry


@pytest.fixture
def entry(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "tiny"))


def change_card(entry: Path, **changes: Any) -> None:
    card = msgspec.json.decode((entry / CARD).read_bytes())
    (entry / CARD).write_bytes(msgspec.json.encode(card | changes))


def test_an_entry_gets_a_bundle_that_tells_what_its_card_tells(exported: Path) -> None:
    manifest = read_bundle(exported / "bundle").manifest
    assert (manifest.name, manifest.version, manifest.family) == ("tiny", "3", "ntm")
    assert manifest.card == {
        **msgspec.json.decode((exported / CARD).read_bytes()),
        "training": {},
        "versions": {},
    }
    assert manifest.form == {"kind": "bits", "width": 5, "flags": ["delimiter"]}
    assert set(manifest.parity) == set(manifest.drift) == {STEP_ONNX, "step_traced.onnx"}
    assert max(manifest.parity.values()) <= 1e-5
    assert STEP_TORCHSCRIPT not in manifest.files


def test_a_bundle_is_replaced_whole_when_made_again_and_torchscript_is_asked_for(
    entry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_bundle(entry / "bundle").manifest.files
    (entry / "bundle" / "left over").touch()
    assert main([str(entry), "--torchscript", "--weights"]) == 0
    manifest = read_bundle(entry / "bundle").manifest
    assert manifest.files == before | {
        file: manifest.files[file] for file in (STEP_TORCHSCRIPT, WEIGHTS)
    }
    assert (entry / "bundle" / WEIGHTS).read_bytes() == (entry / WEIGHTS).read_bytes()
    assert STEP_TORCHSCRIPT in manifest.parity
    assert {path.name for path in (entry / "bundle").iterdir()} == {
        "manifest.json",
        *manifest.files,
    }
    assert {path.name for path in entry.iterdir()} == {CARD, WEIGHTS, "bundle"}
    table = capsys.readouterr().out
    assert all(f"{name} " in table for name in manifest.files)
    assert all(file.sha256[:12] in table for file in manifest.files.values())


def test_a_bundle_of_other_weights_and_another_card_does_not_stand_the_check(
    entry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(3)
    save_file(build("ntm", SMALL).state_dict(), entry / WEIGHTS)
    change_card(entry, version="4")
    assert main([str(entry), "--check"]) == 1
    told = capsys.readouterr().out
    for what in (STEP_ONNX, INITIAL_STATE, "version is 3, a fresh export gives 4"):
        assert what in told


def test_a_zoo_entry_is_found_by_its_name(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "ZOO", exported.parent)
    assert command.find_entry("tiny") == exported


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda entry: (entry / CARD).unlink(), "is neither"),
        (lambda entry: (entry / CARD).write_bytes(b"{"), "is no card"),
        (lambda entry: change_card(entry, extra=1), "unknown field `extra`"),
        (lambda entry: change_card(entry, family="perceptron"), "got 'perceptron'"),
        (lambda entry: change_card(entry, activation="relu"), "'relu'"),
        (lambda entry: change_card(entry, network=SMALL | {"depth": 2}), "depth"),
        (lambda entry: change_card(entry, network=SMALL | {"memory_width": 6}), "should be"),
        (lambda entry: (entry / WEIGHTS).unlink(), "holds no weights"),
        (lambda entry: (entry / WEIGHTS).write_bytes(b"\0" * 9), "holds no weights"),
    ],
)
def test_an_entry_that_cannot_be_exported_is_told_of_and_leaves_its_bundle_alone(
    entry: Path, spoil: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_bundle(entry / "bundle").fingerprint
    spoil(entry)
    assert main([str(entry)]) == 1
    assert message in capsys.readouterr().err
    assert read_bundle(entry / "bundle").fingerprint == before
    assert not list(entry.glob(".bundle*"))
