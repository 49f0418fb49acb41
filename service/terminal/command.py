"""`ntm session`: a server's sessions from the terminal, for people and with --json for scripts."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import NamedTuple

NAME = "ntm session"


class Action(NamedTuple):
    """What is done: a function of service/terminal/actions.py, and what it is for."""

    run: str
    help: str


ACTIONS = {
    "create": Action("create", "begin a session of a model"),
    "list": Action("list_sessions", "list the sessions"),
    "step": Action("step", "run rows through a session"),
    "memory": Action("memory", "show a session's memory and where its heads are"),
    "fork": Action("fork", "begin a session from where another stands, or stood"),
    "watch": Action("watch", "tell what happens to a session until it ends, or Ctrl-C"),
    "export": Action("export_state", "write a session's state to a file"),
    "import": Action("import_state", "put a state from a file into a session"),
    "delete": Action("delete", "end sessions"),
}


def main(argv: list[str]) -> int:
    """Returns 0; 1 where the server said no or nothing; 2 for what cannot be asked."""
    given = _parsed(argv)
    # These import rich, httpx and numpy, which the parser, and so completion, does without.
    actions = importlib.import_module("service.terminal.actions")
    errors = importlib.import_module("service.client.errors")
    try:
        actions.run(getattr(actions, ACTIONS[given.action].run), given)
    except errors.Misuse as error:
        return _said(error, 2)
    except errors.ApiError as error:
        return _said(error, 1)
    except errors.NoAnswer as error:
        where = given.url or os.environ.get("NTM_URL") or "the server"
        return _said(f"no answer from {where}: {error}", 1)
    except (errors.NtmClientError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            _close_output()
            return 1
        return _said(error, 1)
    except KeyboardInterrupt:
        return 0 if given.action == "watch" else 130
    return 0


def _parsed(argv: list[str]) -> argparse.Namespace:
    """What was given; argparse by itself takes no ROWS behind an option: `step ID --trace ROWS`."""
    made = parser()
    given, more = made.parse_known_args(argv)
    if given.action == "step" and len(more) == 1 and not more[0].startswith("-"):
        if given.rows is None and given.file is None:
            given.rows, more = more[0], []
    if more:
        made.error(f"unrecognized arguments: {' '.join(more)}")
    return given


def parser() -> argparse.ArgumentParser:
    """What `ntm session` takes."""
    made = argparse.ArgumentParser(prog=NAME, description="Work with a server's sessions.")
    actions = made.add_subparsers(dest="action", required=True, metavar="ACTION")
    common = _common()
    for name, action in ACTIONS.items():
        told = action.help[0].upper() + action.help[1:] + "."
        sub = actions.add_parser(name, help=action.help, description=told, parents=[common])
        _ARGUMENTS[name](sub)
    return made


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    server = common.add_argument_group("the server")
    server.add_argument("--url", help="else NTM_URL, else http://127.0.0.1:8000")
    server.add_argument("--key", help="API key, else NTM_API_KEY; here others can see it")
    server.add_argument("--ca", metavar="FILE", help="certificates to trust, else the usual ones")
    server.add_argument("--timeout", type=float, metavar="SECONDS", default=30.0)
    common.add_argument("--json", action="store_true", help="print one JSON document, for scripts")
    return common


def _create(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", metavar="MODEL")
    sub.add_argument("--id", help="else one is drawn")
    sub.add_argument("--version", help="of the model, else the newest")
    _ttl(sub, "else the server's")


def _list(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--model", help="only those of this model")


def _step(sub: argparse.ArgumentParser) -> None:
    _session(sub)
    rows = sub.add_mutually_exclusive_group()
    rows.add_argument("rows", nargs="?", metavar="ROWS", help="JSON, like [[0, 1], [1, 0]]")
    rows.add_argument("--file", help="read them there; - is standard input, also without both")
    sub.add_argument("--trace", action="store_true", help="tell where the heads were at each row")
    sub.add_argument(
        "--idempotency-key", metavar="KEY", help="the same key again steps nothing twice"
    )


def _memory(sub: argparse.ArgumentParser) -> None:
    _session(sub)
    sub.add_argument("--name", action="append", help="only this tensor; may be given again")


def _fork(sub: argparse.ArgumentParser) -> None:
    _session(sub)
    sub.add_argument("--id", help="of the new session, else one is drawn")
    point = sub.add_mutually_exclusive_group()
    point.add_argument("--step", type=int, help="from the latest time it stood there")
    point.add_argument("--revision", type=int, help="from this revision")
    point.add_argument("--snapshot", help="from the snapshot of this name")
    _ttl(sub, "else the other session's")


def _watch(sub: argparse.ArgumentParser) -> None:
    _session(sub)
    sub.add_argument("--include", default="", help="some of rows,weights,usage")
    sub.add_argument("--after", metavar="EVENT", help="go on behind the event of this id")
    sub.add_argument("--count", type=int, metavar="N", help="end after as many events")


def _export(sub: argparse.ArgumentParser) -> None:
    _session(sub)
    sub.add_argument(
        "-o", "--output", metavar="FILE", help="else SESSION.safetensors; - is standard output"
    )


def _import(sub: argparse.ArgumentParser) -> None:
    _session(sub)
    sub.add_argument("file", metavar="FILE", help="what `export` wrote; - is standard input")


def _delete(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("sessions", metavar="SESSION", nargs="+")


def _session(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("session", metavar="SESSION", help="its id")


def _ttl(sub: argparse.ArgumentParser, otherwise: str) -> None:
    what = f"how long it may be idle, {otherwise}"
    sub.add_argument("--ttl", type=float, metavar="SECONDS", help=what)


_ARGUMENTS = {
    "create": _create,
    "list": _list,
    "step": _step,
    "memory": _memory,
    "fork": _fork,
    "watch": _watch,
    "export": _export,
    "import": _import,
    "delete": _delete,
}


def _said(what: object, status: int) -> int:
    """One line, whatever it holds."""
    print(f"{NAME}: " + " ".join(str(what).split()), file=sys.stderr)
    return status


def _close_output() -> None:
    """Who read our output has left; Python would complain about that again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
