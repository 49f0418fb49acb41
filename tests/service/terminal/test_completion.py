"""The scripts that `ntm completion` prints, given to the shells themselves."""

import json
import shutil
import subprocess
import sys

import pytest

from service.cli import COMMANDS
from service.terminal.command import ACTIONS
from service.terminal.completion import SHELLS


@pytest.fixture(scope="module")
def script() -> str:
    """The script for bash, and the word that torch was not imported for it."""
    code = (
        "import sys; from service.cli import main; status = main(['completion', 'bash']); "
        "sys.exit(status or 'torch' in sys.modules or 'onnx' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def completed(script: str, *words: str) -> set[str]:
    """What bash offers for the last word."""
    line = " ".join(f"'{word}'" for word in words)
    ask = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _shtab_ntm; "
    ask += "printf '%s\\n' \"${COMPREPLY[@]}\""
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\n{ask}"], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return set(done.stdout.split())


def test_bash_takes_the_script(script: str):
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\ncomplete -p ntm"], capture_output=True, text=True
    )
    assert "-F _shtab_ntm ntm" in done.stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("ntm", ""), set(COMMANDS)),
        (("ntm", "se"), {"serve", "session"}),
        (("ntm", "tr"), {"train"}),
        (("ntm", "session", ""), set(ACTIONS)),
        (("ntm", "session", "ste"), {"step"}),
        (("ntm", "session", "fork", "--s"), {"--step", "--snapshot"}),
        (("ntm", "session", "memory", "--na"), {"--name"}),
        (("ntm", "serve", "--po"), {"--port"}),
        (("ntm", "store", "c"), {"check", "compact"}),
        (("ntm", "completion", ""), set(SHELLS)),
    ],
)
def test_bash_completes_commands_and_their_options(
    script: str, words: tuple[str, ...], offered: set[str]
):
    assert offered <= completed(script, *words)
    if words[-1]:
        assert completed(script, *words) == offered


def test_a_file_is_completed_where_one_is_wanted(script: str, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.json").write_text(json.dumps([]))
    assert "rows.json" in completed(script, "ntm", "session", "step", "--file", "ro")


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_a_script_it_takes(shell: str):
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "completion", shell], capture_output=True, text=True
    )
    assert done.returncode == 0 and "session" in done.stdout, done.stderr
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=done.stdout, capture_output=True, text=True)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_another_shell_is_refused():
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "completion", "dos"], capture_output=True, text=True
    )
    assert done.returncode == 2 and "invalid choice: 'dos'" in done.stderr
