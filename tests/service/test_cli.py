import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from service import cli
from service.cli import COMMANDS, Command, main, run
from service.metrics import package_version


def fake_command(monkeypatch: pytest.MonkeyPatch, body: Any) -> None:
    """A module `fake_command` whose main does this."""
    module = types.ModuleType("fake_command")
    module.main = body  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "fake_command", module)


def test_a_command_gets_its_arguments_and_gives_its_status(monkeypatch: pytest.MonkeyPatch):
    got: list[list[str]] = []
    fake_command(monkeypatch, lambda argv: got.append(argv) or 7)
    monkeypatch.setitem(cli.COMMANDS, "fake", Command("fake_command", "help"))
    assert main(["fake", "--a", "b"]) == 7
    assert got == [["--a", "b"]]


def test_a_missing_package_names_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def needs_more(_: list[str]) -> int:
        raise ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")

    fake_command(monkeypatch, needs_more)
    assert run("train", Command("fake_command", "help", "train"), []) == 1
    assert capsys.readouterr().err == (
        "ntm train needs the 'train' extra (torch is not installed): "
        "pip install -e '.[train]' in the project's folder\n"
    )


def test_a_missing_module_of_ours_is_a_defect_and_not_explained_away(
    monkeypatch: pytest.MonkeyPatch,
):
    def defect(_: list[str]) -> int:
        raise ModuleNotFoundError("No module named 'model.lost'", name="model.lost")

    fake_command(monkeypatch, defect)
    with pytest.raises(ModuleNotFoundError, match=r"model\.lost"):
        run("train", Command("fake_command", "help", "train"), [])


@pytest.mark.parametrize("argv", [[], ["-h"], ["--help"]])
def test_help_lists_every_command(argv: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(argv) == 0
    said = capsys.readouterr().out
    assert all(name in said and command.help in said for name, command in COMMANDS.items())


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]):
    assert main(["sevre"]) == 2
    assert "there is no command 'sevre'" in capsys.readouterr().err


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ntm-serve {package_version()}\n"


def test_the_command_line_alone_imports_no_command():
    code = (
        "import sys, service.cli; service.cli.main(['--help']); "
        "sys.exit(any(name in sys.modules for name in "
        "('torch', 'onnx', 'numpy', 'litestar', 'uvicorn', 'service.supervisor')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == 0, done.stderr


def test_models_are_listed_without_torch(models: Path):
    code = (
        "import sys; from service.cli import main; status = main(['models', sys.argv[1]]); "
        "sys.exit(status or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(models)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    head, *lines = [line.split() for line in done.stdout.splitlines()]
    assert head[:6] == ["name", "version", "family", "task", "input", "output"]
    assert [line[:6] for line in lines] == [
        ["copy", "1", "ntm", "copy", "9", "8"],
        ["small", "1", "ntm", "copy", "7", "5"],
        ["small", "2", "ntm", "copy", "7", "5"],
    ]
