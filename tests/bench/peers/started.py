"""A server as a process of its own group: started, waited for, ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.bench.peers.environments import NotRun
from tests.bench.peers.processes import family
from tests.bench.peers.wires import Wire
from tests.service.serving import alive, until

START_S, STOP_S = 180.0, 20.0
TOLERANCE = 1e-4  # TorchScript and ONNX Runtime differ in the last bits
HOST = "127.0.0.1"

Inputs = list[list[list[float]]]


class Running(NamedTuple):
    """pid: of the process that was started; the server is it and its descendants. tolerance: how
    far an answer may be from the reference. wire_of: what goes over the wire for sessions with
    these inputs; it makes the sessions where that takes requests."""

    port: int
    pid: int
    tolerance: float
    wire_of: Callable[[Inputs], Wire]


@contextmanager
def started(command: list[str], log: Path, environment: dict[str, str]) -> Generator[int]:
    """The process's id. In the end its descendants get SIGTERM with it, and what is left of them
    after STOP_S is killed."""
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        yield process.pid
    finally:
        _end(process)


def ready(pid: int, log: Path, answers: Callable[[], bool]) -> None:
    """Until it answers. Raises NotRun where it ends before, or takes longer than START_S."""

    def does() -> bool:
        if not alive(pid):
            last = (log.read_text().strip().splitlines() or ["it printed nothing"])[-1]
            raise NotRun(f"it ended: {last}")
        try:
            return answers()
        except OSError:
            return False

    try:
        until(does, START_S)
    except AssertionError as error:
        raise NotRun(f"it does not answer within {START_S:.0f} s") from error


def ask(port: int, request: bytes) -> bytes:
    """What comes first of the answer. Raises OSError."""
    with socket.create_connection((HOST, port), timeout=10) as connection:
        connection.sendall(request)
        return connection.recv(65536)


def _end(process: subprocess.Popen[bytes]) -> None:
    members = family(process.pid)
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        pass
    for pid in members:
        if pid == process.pid and process.poll() is not None:
            continue
        if alive(pid):
            _kill(pid)
    process.wait(STOP_S)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
