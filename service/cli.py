"""`ntm`: each command is a module that is imported only when it is called."""

from __future__ import annotations

import importlib
import os
import sys
from typing import NamedTuple

from service.versions import package_version


class Command(NamedTuple):
    """A command: a module with `main(argv) -> int`, and the extra that brings what it imports."""

    module: str
    help: str
    extra: str | None = None


COMMANDS = {
    "serve": Command("service.supervisor", "serve models over HTTP"),
    "ready": Command("service.ready_command", "ask this machine's server whether it is ready"),
    "keys": Command("service.keys_command", "make, list and revoke API keys"),
    "models": Command("service.model_list", "list the models that `ntm serve` would serve"),
    "session": Command(
        "service.terminal.command", "begin, step, look into and end a server's sessions", "client"
    ),
    "store": Command("service.store.command", "check, compact or back up a SQLite store"),
    "train": Command("model.training", "train a network on a task", "train"),
    "eval": Command("model.evaluation", "measure a trained network", "train"),
    "plot": Command("model.plot", "draw what a trained network does", "train"),
    "export": Command("export.command", "turn a trained network into a bundle", "train"),
    "compile": Command(
        "service.compile_command", "build a step's native code for this machine", "train"
    ),
    "completion": Command("service.terminal.completion", "print a shell's completion", "client"),
}
OURS = ("model", "export", "service")


def main(argv: list[str] | None = None) -> int:
    """Run the command that the first argument names."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name == "--version":
        print(f"ntm-serve {package_version()}")
        return 0
    if name not in COMMANDS:
        print(f"ntm: there is no command {name!r}\n{usage()}", file=sys.stderr)
        return 2
    return run(name, COMMANDS[name], rest)


def run(name: str, command: Command, argv: list[str]) -> int:
    """Import a command and call it. Where what it needs is not installed, say how to install it."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # see service/engine/onnx.py
    try:
        return importlib.import_module(command.module).main(argv)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if command.extra is None or package in OURS:
            raise
        print(
            f"ntm {name} needs the {command.extra!r} extra ({package} is not installed): "
            f"pip install -e '.[{command.extra}]' in the project's folder",
            file=sys.stderr,
        )
        return 1


def usage() -> str:
    """Every command with its line of help."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.help}" for name, command in COMMANDS.items()]
    return "usage: ntm COMMAND ...\n\n" + "\n".join(lines) + "\n\nntm COMMAND --help says more"


if __name__ == "__main__":
    sys.exit(main())
