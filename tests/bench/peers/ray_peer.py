"""Ray Serve: `inside/serve_ray.py` in its own environment, two replicas, the session hashed.

Ray's own daemons listen on all interfaces, for which it has no setting. They ask for a token, which
lies in the scratch folder.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from tests.bench.connection import post
from tests.bench.peers.environments import INSIDE, clean, python_of
from tests.bench.peers.started import TOLERANCE, Running, ask, ready, started
from tests.bench.peers.wires import http_good, json_routed
from tests.ports import free_port


@contextmanager
def running(folder: Path, step: Path, width: int) -> Generator[Running]:
    """Ready, for rows of that width. Raises NotRun."""
    port, log = free_port(), folder / "ray.log"
    command = [str(python_of("ray")), str(INSIDE / "serve_ray.py"), str(step), str(port)]
    environment = clean(
        RAY_USAGE_STATS_ENABLED="0",
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN_PATH=str(folder / "token"),
    )
    (folder / "token").write_text(token_hex(32))
    probe = post("/", {"inputs": [[0.0] * width]}, "x-session-id: probe\r\n")
    with started([*command, str(folder)], log, environment) as pid:
        ready(pid, log, lambda: http_good(ask(port, probe)))
        yield Running(port, pid, TOLERANCE, json_routed)
