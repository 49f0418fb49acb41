"""Keys for tests: a file of them, made by the command that people use."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

from service import keys_command


def run(*arguments: str) -> tuple[int, str]:
    """The command's status and what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = keys_command.main([str(argument) for argument in arguments])
    return status, printed.getvalue()


def new_key(path: Path, tenant: str, *scopes: str, expires_in: str | None = None) -> str:
    """A key of a tenant, which the file has from now on."""
    given = [part for scope in scopes for part in ("--scope", scope)]
    given += [] if expires_in is None else ["--expires-in", expires_in]
    status, text = run("create", "--file", str(path), "--tenant", tenant, *given)
    assert status == 0
    return text.strip()


def revoke(path: Path, key: str) -> None:
    """Let a key in no more."""
    assert run("revoke", "--file", str(path), key.split("_")[1])[0] == 0


def listed(path: Path) -> list[dict[str, Any]]:
    """What the command tells of the file."""
    return json.loads(run("list", "--file", str(path), "--json")[1])


def bearer(key: str) -> dict[str, str]:
    """The header that a key goes in."""
    return {"authorization": f"Bearer {key}"}
