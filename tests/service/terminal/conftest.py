"""The real `ntm session` as a process, against the real server."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.service.serving import Server, environ

Ntm: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]


def started(*argv: str, **settings: str) -> subprocess.Popen[str]:
    """`ntm session` with these arguments, running."""
    return subprocess.Popen(
        [sys.executable, "-m", "service.cli", "session", *argv],
        env=environ(PYTHONIOENCODING="utf-8", **settings), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=_hears_ctrl_c,
    )  # fmt: skip


@pytest.fixture
def ntm(server: Server, tmp_path: Path) -> Ntm:
    """Runs `ntm session` to its end."""

    def run(
        *argv: str, stdin: str | bytes = "", **settings: str
    ) -> subprocess.CompletedProcess[str]:
        settings = {"NTM_URL": server.url, "PYTHONIOENCODING": "utf-8"} | settings
        given = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [sys.executable, "-m", "service.cli", "session", *argv],
            env=environ(**settings), input=given, capture_output=True, timeout=120,
        )  # fmt: skip
        told = (done.stdout.decode("utf-8", "surrogateescape"), done.stderr.decode())
        return subprocess.CompletedProcess(done.args, done.returncode, *told)

    return run


def _hears_ctrl_c() -> None:
    """What a shell starts in the background ignores it, and so would what the tests start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
