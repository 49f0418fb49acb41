"""`ntm keys`: who may come in. Servers that read the file see a change within a second."""

from __future__ import annotations

import argparse
import base64
import fcntl
import json
import os
import re
import secrets
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import time

import msgspec

from service.environ import SettingsError
from service.keys import FORMAT, SCOPES, TENANT_PATTERN, Key, KeyFile, read_file, sha256

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
SPAN = re.compile(r"([1-9][0-9]{0,8})([smhd])")


def main(argv: list[str]) -> int:
    """Run `ntm keys`. Returns 0, or 1 where it cannot do what it was asked to."""
    arguments = parser().parse_args(argv)
    if not arguments.file:
        print("ntm keys: name the file, by --file or NTM_KEYS", file=sys.stderr)
        return 2
    try:
        return arguments.run(Path(arguments.file), arguments)
    except (SettingsError, OSError) as error:
        print(f"ntm keys: {error}", file=sys.stderr)
        return 1


def create(path: Path, arguments: argparse.Namespace) -> int:
    """Make a key and print it, once: the file has only its hash."""
    name, secret = _drawn(6)[:10], _drawn(32)
    text = f"ntm_{name}_{secret}"
    now = time()
    key = Key(
        name,
        arguments.tenant,
        tuple(scope for scope in SCOPES if scope in (arguments.scope or ("read", "step"))),
        sha256(text.encode()),
        now,
        None if arguments.expires_in is None else now + arguments.expires_in,
        arguments.note,
    )
    with _changing(path) as keys:
        keys.append(key)
        # Before the file has it: a key that nobody has seen must not let anybody in.
        print(json.dumps(_shown(key) | {"key": text}) if arguments.json else text, flush=True)
    return 0


def show(path: Path, arguments: argparse.Namespace) -> int:
    """List the keys, without what would let anybody in."""
    rows = [_shown(key) for key in read_file(path).keys]
    if arguments.json:
        print(json.dumps(rows))
        return 0
    heads = ("id", "tenant", "scopes", "created", "expires", "note")
    table = [heads, *([row[head] or "" for head in heads] for row in rows)]
    widths = [max(len(row[at]) for row in table) for at in range(len(heads))]
    for row in table:
        print(
            "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    return 0


def revoke(path: Path, arguments: argparse.Namespace) -> int:
    """Take a key out of the file."""
    with _changing(path) as keys:
        at = next((at for at, key in enumerate(keys) if key.id == arguments.id), None)
        if at is None:
            raise SettingsError(f"{path}: expected the id of a key, got {arguments.id!r}")
        del keys[at]
    return 0


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    found = argparse.ArgumentParser(prog="ntm keys", description=__doc__)
    commands = found.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        default = os.environ.get("NTM_KEYS", "")
        made.add_argument("--file", default=default, help="the keys' file; NTM_KEYS if left out")
        return made

    making = command("create", create, "make a key and print it: it is shown this once")
    making.add_argument("--tenant", required=True, type=_tenant, help="whose sessions it reaches")
    making.add_argument(
        "--scope", action="append", choices=SCOPES, help="may be given more than once; read, step"
    )
    making.add_argument("--expires-in", type=_span, metavar="90d", help="a number and s, m, h or d")
    making.add_argument("--note", default="", type=_note, help="for people")
    making.add_argument("--json", action="store_true", help="print a JSON object")
    listing = command("list", show, "list the keys, without their secrets")
    listing.add_argument("--json", action="store_true", help="print a JSON list")
    command("revoke", revoke, "let a key in no more").add_argument("id", help="as list tells it")
    return found


@contextmanager
def _changing(path: Path) -> Generator[list[Key]]:
    """The file's keys, to be changed in place; written whole, or not at all where that fails."""
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path.parent / f".{path.name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another `ntm keys` may be about to write it
        keys = list(read_file(path).keys) if path.exists() else []
        yield keys
        _write(path, KeyFile(FORMAT, tuple(keys)))
    finally:
        os.close(lock)


def _write(path: Path, content: KeyFile) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as new:
        try:
            if path.exists():
                before = path.stat()  # whoever could read it still can
                os.fchmod(new.fileno(), before.st_mode & 0o777)
                os.fchown(new.fileno(), before.st_uid, before.st_gid)
            new.write(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
            new.flush()
            os.fsync(new.fileno())
            os.replace(new.name, path)
        except BaseException:
            os.unlink(new.name)
            raise


def _shown(key: Key) -> dict[str, str]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "scopes": ",".join(key.scopes),
        "created": _when(key.created_at),
        "expires": "" if key.expires_at is None else _when(key.expires_at),
        "note": key.note,
    }


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _drawn(size: int) -> str:
    return base64.b32encode(secrets.token_bytes(size)).decode().rstrip("=").lower()


def _tenant(text: str) -> str:
    if not re.match(TENANT_PATTERN, text):
        raise argparse.ArgumentTypeError(f"expected to match {TENANT_PATTERN}, got {text!r}")
    return text


def _note(text: str) -> str:
    if len(text) > 200 or not text.isprintable():
        raise argparse.ArgumentTypeError("expected at most 200 printable characters")
    return text


def _span(text: str) -> float:
    found = SPAN.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected a number and s, m, h or d, got {text!r}")
    return int(found[1]) * UNITS_S[found[2]]
