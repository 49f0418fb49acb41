"""`ntm completion`: a script that completes commands and their options in a shell."""

from __future__ import annotations

import argparse
import importlib

import shtab

from service.cli import COMMANDS, OURS, Command

FILES = ("file", "output", "ca")
SHELLS = ("bash", "zsh", "tcsh")
HEAVY = "train"  # the extra whose commands import torch: they are completed by name only


def main(argv: list[str]) -> int:
    """Print the script of a shell."""
    shell = parser().parse_args(argv).shell
    made = whole()
    _complete_files(made)
    print(shtab.complete(made, shell))
    return 0


def parser() -> argparse.ArgumentParser:
    """What `ntm completion` takes."""
    made = argparse.ArgumentParser(
        prog="ntm completion",
        description="Print a script that completes ntm's commands and options.",
        epilog='bash: eval "$(ntm completion bash)", in ~/.bashrc for good; '
        "zsh: ntm completion zsh > a folder of $fpath/_ntm; tcsh: ntm completion tcsh | source "
        "/dev/stdin",
    )
    made.add_argument("shell", choices=SHELLS)
    return made


def whole() -> argparse.ArgumentParser:
    """One parser of every command."""
    made = argparse.ArgumentParser(prog="ntm", description="Networks with memory behind a URL.")
    made.add_argument("--version", action="store_true", help="print the version")
    commands = made.add_subparsers(dest="command")
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.help)
        found = of(command)
        if found is not None:
            commands.choices[name] = found
    return made


def of(command: Command) -> argparse.ArgumentParser | None:
    """A command's own parser; None where it has none to give, or cannot be imported here."""
    if command.extra == HEAVY:
        return None
    try:
        module = importlib.import_module(command.module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in OURS:
            raise
        return None
    make = getattr(module, "parser", None)
    return make() if callable(make) else None  # pyright: ignore[reportReturnType]


def _complete_files(made: argparse.ArgumentParser) -> None:
    for action in made._actions:  # pyright: ignore[reportPrivateUsage]
        if action.dest in FILES:
            action.complete = shtab.FILE  # pyright: ignore[reportAttributeAccessIssue]
        elif isinstance(action, argparse._SubParsersAction):  # pyright: ignore[reportPrivateUsage]
            for sub in action.choices.values():
                _complete_files(sub)
