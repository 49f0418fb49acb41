"""Runs of schemathesis against a server, and what they came to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.service.serving import Server, environ

ROOT = Path(__file__).resolve().parents[3]  # where the hooks are imported from
CONFIG = Path(__file__).parent / "schemathesis.toml"
# By hand, longer and at random: SCHEMA_EXAMPLES=500 SCHEMA_SEED=$RANDOM
SEED, EXAMPLES = os.environ.get("SCHEMA_SEED", "1"), os.environ.get("SCHEMA_EXAMPLES")


class Answer(NamedTuple):
    """What was asked, in good form or in bad, and what came."""

    operation: str
    mode: str
    status: int


def run(
    server: Server,
    folder: Path,
    examples: int,
    *arguments: str,
    document: Path | None = None,
    narrow: str = "",
    seed: str = SEED,
) -> Counter[Answer]:
    """Ask what a document describes: the server's own or a file. Fails where a check does.

    narrow: to the "model" that the server has, and to its one "session".
    """
    tally = folder / "tally"
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run",
        str(document or f"{server.url}/schema/openapi.json"), "--url", server.url,
        "--seed", seed, "--max-examples", EXAMPLES or str(examples), 
        "--max-failures", "10", *arguments,
    ]  # fmt: skip
    told = {
        "PYTHONPATH": str(ROOT),
        "SCHEMA_URL": server.url,
        "SCHEMA_TALLY": str(tally),
        "SCHEMA_NARROW": narrow,
    }
    ended = subprocess.run(
        command, env=environ(**told), cwd=folder, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, f"seed {seed}:\n{ended.stdout}{ended.stderr}"
    lines = (line.split() for line in tally.read_text().splitlines())
    return Counter(Answer(name, mode, int(status)) for name, mode, status in lines)


def done(answers: Counter[Answer]) -> Counter[str]:
    """How often each operation was answered with 2xx."""
    found = Counter[str]()
    for answer, times in answers.items():
        if 200 <= answer.status < 300:
            found[answer.operation] += times
    return found
