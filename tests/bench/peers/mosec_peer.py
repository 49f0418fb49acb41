"""mosec: `inside/serve_mosec.py` in its own environment, with one worker."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.connection import post
from tests.bench.peers.environments import INSIDE, clean, python_of
from tests.bench.peers.started import HOST, TOLERANCE, Running, ask, ready, started
from tests.bench.peers.wires import http_good, json_named
from tests.ports import free_port


@contextmanager
def running(folder: Path, step: Path, rows: int, width: int) -> Generator[Running]:
    """Ready, with a route for requests of so many rows of that width.

    Raises NotRun.
    """
    route, port, log = f"/rows{rows}", free_port(), folder / "mosec.log"
    command = [str(python_of("mosec")), str(INSIDE / "serve_mosec.py"), "--address", HOST]
    command += ["--port", str(port), "--path", str(folder / "ipc"), "--log-level", "warning"]
    probe = post(route, {"session": "probe", "inputs": [[0.0] * width] * rows})
    with started(command, log, clean(STEP=str(step), ROUTE=route)) as pid:
        ready(pid, log, lambda: http_good(ask(port, probe)))
        yield Running(port, pid, TOLERANCE, lambda inputs: json_named(route, inputs))
