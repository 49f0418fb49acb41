"""Runs of schemathesis against a server, and what they came to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.service.serving import Server, environ

HERE = Path(__file__).parent
CONFIG, V2 = HERE / "schemathesis.toml", HERE / "v2.json"
# By hand, long and at random: SCHEMA_EXAMPLES=1000 SCHEMA_SEED=$RANDOM
SEED = os.environ.get("SCHEMA_SEED", "1")
LONGER_S = 60


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
    source: str = "",
    narrow: bool = False,
) -> Counter[Answer]:
    """Ask what a document describes, the served one or that of a file. Fails where a check does."""
    tally = folder / "tally"
    examples = int(os.environ.get("SCHEMA_EXAMPLES", examples))
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run",
        source or f"{server.url}/schema/openapi.json", "--url", server.url, "--seed", SEED,
        "--max-examples", str(examples), *arguments,
    ]  # fmt: skip
    told = {"SCHEMA_URL": server.url, "SCHEMA_TALLY": str(tally), "SCHEMA_NARROW": "1" * narrow}
    done = subprocess.run(
        command, env=environ(**told), cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (line.split() for line in tally.read_text().splitlines())
    return Counter(Answer(name, mode, int(status)) for name, mode, status in lines)


def accepted(answers: Counter[Answer], mode: str = "positive") -> float:
    """The share of the requests of a mode that were answered with 2xx."""
    asked = {answer: times for answer, times in answers.items() if answer.mode == mode}
    good = sum(times for answer, times in asked.items() if answer.status < 300)
    return good / sum(asked.values())
