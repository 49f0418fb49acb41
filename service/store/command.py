"""`ntm store`: look after a store's file, also while a server uses it."""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys

from service.store.open import SQLITE, path_of
from service.store.sqlite_check import Finding, backup, check, compact
from service.store.store import StoreUnavailable


def main(argv: list[str]) -> int:
    """Returns 0; 1 where something is damaged; 2 where the command cannot be carried out."""
    given = parser().parse_args(argv)
    try:
        path = _path(given.store)
        match given.action:
            case "check":
                return _check(path)
            case "compact":
                before, after = compact(path)
                print(f"{path}: {before} bytes before, {after} after")
            case _:
                print(f"{given.target}: {backup(path, given.target)} bytes")
    except (StoreUnavailable, OSError, ValueError, sqlite3.Error) as error:
        print(f"ntm store {given.action}: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """What `ntm store` takes."""
    made = argparse.ArgumentParser(prog="ntm store", description="Look after a SQLite store.")
    actions = made.add_subparsers(dest="action", required=True, metavar="ACTION")
    where = "the file, or sqlite:///absolute/path.db; without it what NTM_STORE says"
    for name, what in (
        ("check", "verify every checksum, and list the sessions that are damaged"),
        ("compact", "give free space back to the disk"),
        ("backup", "copy the file as of one commit"),
    ):
        action = actions.add_parser(name, help=what, description=what.capitalize() + ".")
        default = os.environ.get("NTM_STORE", "")
        action.add_argument("store", nargs="?", default=default, metavar="PATH|URL", help=where)
        if name == "backup":
            action.add_argument("target", metavar="DEST", help="where the copy goes: a new file")
    return made


def _path(store: str) -> str:
    if store.startswith(SQLITE):
        return path_of(store)
    if not store or store == "memory" or "://" in store:
        raise ValueError(f"expected a SQLite file or sqlite:///absolute/path.db, got {store!r}")
    return store


def _check(path: str) -> int:
    damaged = 0
    for found in check(path):
        if isinstance(found, Finding):
            damaged += 1
            print(f"damaged: {found.session or 'the file'}: {found.detail}")
        else:
            print(f"{path}: {found} sessions checked, {damaged} problems")
    return 1 if damaged else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
