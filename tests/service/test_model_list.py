import shutil
from pathlib import Path

import pytest

from service.model_list import main


def test_a_damaged_bundle_is_named_and_the_others_are_listed(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    shutil.copytree(models / "small-1", tmp_path / "good")
    shutil.copytree(models / "small-2", tmp_path / "harmed")
    (tmp_path / "harmed" / "step.onnx").write_bytes(b"harm")
    assert main([str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert [line.split()[1] for line in said.out.splitlines()[1:]] == ["1"]
    assert "harmed" in said.err and "step.onnx" in said.err


def test_a_folder_without_a_bundle_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(tmp_path)]) == 1
    assert f"no bundle in {tmp_path}" in capsys.readouterr().err


def test_the_folders_of_the_settings_are_looked_in(
    models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("NTM_MODELS", f"{models / 'copy'}:{models / 'small-2'}")
    assert main([]) == 0
    names = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:]]
    assert names == [["copy", "1"], ["small", "2"]]


def test_unusable_settings_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("NTM_MODLES", "/a")
    assert main([]) == 2
    assert "did you mean NTM_MODELS?" in capsys.readouterr().err
