"""The client needs nothing of the server: seen by an interpreter that refuses to import it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CLIENT = {"httpx", "httpcore", "h11", "anyio", "idna", "certifi", "sniffio", "msgspec", "numpy"}
TERMINAL = {"rich", "markdown_it", "mdurl", "pygments", "shtab"}
ALSO = {"typing_extensions", "click", "socksio", "brotli", "brotlicffi", "zstandard", "h2", "trio"}

REFUSING = """
import sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        top, parts = name.partition(".")[0], name.split(".")
        ours = top == "service" and (len(parts) == 1 or parts[1] in OURS)
        if ours or top in ALLOWED or top.lstrip("_") in sys.stdlib_module_names | ALLOWED:
            return None
        if top in sys.stdlib_module_names:
            return None
        raise ModuleNotFoundError(f"refused: {name}", name=name)

OURS, ALLOWED = set(OURS), set(ALLOWED)
sys.meta_path.insert(0, Refusing())
"""


def run(code: str, ours: set[str], allowed: set[str], *arguments: str) -> str:
    """What code prints under the hook."""
    head = f"OURS, ALLOWED = {sorted(ours)!r}, {sorted(allowed)!r}\n{REFUSING}\n"
    done = subprocess.run(
        [sys.executable, "-c", head + code, *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_hook_refuses_what_it_must():
    for name in ("litestar", "service.settings", "uvicorn", "onnxruntime"):
        code = f"try:\n import {name}\nexcept ModuleNotFoundError as e: print(e)"
        assert run(code, {"client"}, CLIENT).strip() == f"refused: {name}"


def test_the_client_imports_neither_the_server_nor_websockets():
    code = "import service.client, sys; print('websockets' in sys.modules, 'rich' in sys.modules)"
    assert run(code, {"client"}, CLIENT | ALSO).split() == ["False", "False"]


def test_every_module_of_the_client_can_be_imported_so():
    names = sorted(path.stem for path in (ROOT / "service" / "client").glob("*.py"))
    code = "import importlib\n" + "\n".join(
        f"importlib.import_module('service.client.{name}')" for name in names if name != "__init__"
    )
    assert run(code, {"client"}, CLIENT | ALSO) == ""


@pytest.mark.parametrize("argv", [["--version"], ["session", "--help"], ["completion", "bash"]])
def test_the_commands_of_the_client_run_without_the_server_too(argv: list[str]):
    code = (
        "import sys; from service.cli import main\n"
        "try: status = main(sys.argv[1:])\n"
        "except SystemExit as error: status = error.code\n"
        "sys.exit(status)"
    )
    ours = {"client", "terminal", "cli", "versions"}
    # Completion asks every other command for its parser, and does without where it cannot.
    if argv[0] == "completion":
        code = code.replace(
            "import sys;", "import sys; import service.terminal.completion as c; c.OURS = ();"
        )
    assert run(code, ours, CLIENT | ALSO | TERMINAL | {"websockets"}, *argv)
