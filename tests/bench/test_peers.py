"""The parts of `make bench-peers` that decide what its tables say."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytest

from export.bundle import read_bundle
from service.settings import ZOO
from tests.bench.peers.environments import NotRun
from tests.bench.peers.load import Load
from tests.bench.peers.processes import cpu_ms, family, resident_mb
from tests.bench.peers.sessions import CLOSELY, Sessions, limits
from tests.bench.peers.sockets import TEXT, frame, split
from tests.bench.peers.started import ready, started
from tests.bench.peers.table import not_run, ratios
from tests.bench.peers.wires import Wire, http_good, json_outputs
from tests.bench.peers.workloads import WORKLOADS, chosen
from tests.bench.reference import Reference
from tests.service.serving import alive, until

ROWS = 2


class Answering(asyncio.Protocol):
    """A server that answers each request in two pieces: {"outputs": what session and time say}."""

    def __init__(self, outputs: Any, left: list[asyncio.Future[None]]) -> None:
        self._outputs, self._times = outputs, {}
        self._left = asyncio.get_running_loop().create_future()
        left.append(self._left)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._left.set_result(None)

    def data_received(self, data: bytes) -> None:
        session = int(data.split(b"/")[1])
        self._times[session] = self._times.get(session, 0) + 1
        body = json.dumps({"outputs": self._outputs(session, self._times[session] - 1)}).encode()
        self._transport.write(b"HTTP/1.1 200 OK\r\nX: Y\r\nContent-LENGTH: %d\r\n" % len(body))
        asyncio.get_running_loop().call_soon(self._transport.write, b"\r\n" + body)


async def answered(outputs: Any, inputs: Any, drive: Any) -> tuple[Sessions, Any]:
    """Sessions with these inputs at a server with these outputs, after a load of two connections;
    and the last turn."""
    loop = asyncio.get_running_loop()
    left: list[asyncio.Future[None]] = []
    server = await loop.create_server(lambda: Answering(outputs, left), "127.0.0.1", 0)
    requests = [b"POST /%d/ HTTP/1.1\r\n\r\n" % number for number in range(len(inputs))]
    wire = Wire(lambda number, steps: requests[number], http_good, json_outputs)
    sessions = Sessions(wire, inputs, 1e-4)
    try:
        turn = await drive(Load(sessions, server.sockets[0].getsockname(), 2))
    finally:
        server.close()
        await asyncio.gather(*left)
    return sessions, turn


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(read_bundle(Path(ZOO) / "copy" / "bundle"))


def right(reference: Reference, inputs: Any) -> list[list[Any]]:
    """The first answers of each session."""
    return [[y.tolist() for y in reference.answers(each, 60)] for each in inputs]


async def test_right_answers_are_none_of_them_wrong(reference: Reference):
    inputs = [reference.inputs(number, ROWS) for number in range(4)]
    outputs = right(reference, inputs)
    sessions, turn = await answered(
        lambda session, time: outputs[session][time], inputs, lambda load: load.round()
    )
    assert sessions.steps == [1] * 4 and len(turn.latencies) == 4
    assert (sessions.checked, sessions.wrong(reference), sessions.failed) == (4, 0, 0)


async def test_a_session_that_got_anothers_answer_is_found(reference: Reference):
    inputs = [reference.inputs(number, ROWS) for number in range(4)]
    outputs = right(reference, inputs)
    sessions, _ = await answered(
        lambda session, time: outputs[0 if session == 1 else session][time],
        inputs,
        lambda load: load.round(),
    )
    assert sessions.wrong(reference) == 1


async def test_a_session_that_lost_a_row_is_wrong_from_there_on(reference: Reference):
    inputs = [reference.inputs(number, ROWS) for number in range(2)]
    outputs = right(reference, inputs)

    async def rounds(load: Load) -> None:
        for _ in range(5):
            await load.round()

    counts = [0, 0]

    def forgetful(session: int, time: int) -> Any:
        counts[session] += 1
        return outputs[session][counts[session] - 1 if counts[session] < 4 else 0]

    sessions, _ = await answered(forgetful, inputs, rounds)
    assert sessions.checked == 10
    assert sessions.wrong(reference) == 4


async def test_a_pace_is_kept_and_what_is_under_way_at_the_end_is_waited_for(
    reference: Reference,
):
    inputs = [reference.inputs(number, ROWS) for number in range(2)]
    outputs = right(reference, inputs)
    sessions, turn = await answered(
        lambda session, time: outputs[session][time],
        inputs,
        lambda load: load.paced(0.2, 100),
    )
    assert 10 <= len(turn.latencies) <= 20
    assert sum(sessions.steps) == len(turn.latencies)


async def test_a_server_that_hangs_up_ends_the_turn(reference: Reference):
    inputs = [reference.inputs(number, ROWS) for number in range(2)]

    def hang_up(session: int, time: int) -> Any:
        raise ConnectionError

    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    begun = perf_counter()
    with pytest.raises(ConnectionError):
        await answered(hang_up, inputs, lambda load: load.closed(60))
    assert perf_counter() - begun < 30


def test_selection_keeps_what_ratios_are_to():
    assert chosen("single", "ntm")["single"].servers == ("mosec", "ntm")
    assert chosen("binary,sync", "triton") == {
        "sync": WORKLOADS["sync"]._replace(servers=("mosec",)),
        "binary": WORKLOADS["binary"]._replace(servers=("mosec", "triton")),
    }
    assert chosen("", "") == WORKLOADS


@pytest.mark.parametrize(("workloads", "servers"), [("singel", ""), ("", "mosek")])
def test_selection_refuses_names_that_are_none(workloads: str, servers: str):
    with pytest.raises(ValueError, match="expected of"):
        chosen(workloads, servers)


def test_a_ratio_is_the_median_of_the_turns():
    rates, base = np.array([30.0, 10.0, 90.0]), np.array([10.0, 10.0, 10.0])
    assert ratios(rates, base) == ("3.00", "3.00 1.00 9.00")
    assert ratios(rates, None) == ("-", "-")


def test_what_could_not_be_had_is_told_as_not_run(tmp_path: Path):
    log = tmp_path / "log"
    command = [sys.executable, "-c", "print('no such library')"]
    with started(command, log, dict(os.environ)) as pid:
        with pytest.raises(NotRun, match="it ended: no such library"):
            ready(pid, log, lambda: False)
    assert "not run: no such library" in not_run("triton", "no such library")


def test_what_a_server_started_is_ended_with_it(tmp_path: Path):
    program = (
        "import signal, subprocess, sys\n"
        "child = 'import signal; signal.signal(15, signal.SIG_IGN); print(1, flush=True);"
        "signal.pause()'\n"
        "subprocess.Popen([sys.executable, '-c', child])\n"
        "signal.pause()"
    )
    log = tmp_path / "log"
    with started([sys.executable, "-c", program], log, dict(os.environ)) as pid:
        until(lambda: log.read_text() == "1\n")
        members = family(pid)
    assert len(members) == 2
    until(lambda: not any(map(alive, members)))


def test_answers_are_checked_all_over_the_sessions():
    many = limits(10_000, 1, True)
    assert len(many) == 64 and max(many) > 9_500
    assert sum(most > 40 for most in many.values()) == CLOSELY
    assert set(limits(64, 20, False).values()) == {10}
    assert limits(2, 20, True) == {0: 1000, 1: 1000}


@pytest.mark.parametrize("length", [0, 125, 126, 65_535])
def test_a_frame_is_split_off_once_it_is_whole(length: int):
    payload = bytes(length)
    ours = frame(TEXT, payload)
    masked = ours[1] & 0x80 and ours[-length - 4 :][:4] == bytes(4)
    assert masked
    head = bytes((TEXT, ours[1] & 0x7F)) + ours[2 : len(ours) - length - 4]
    assert split(head + payload + b"next") == (TEXT, payload, b"next")
    assert split((head + payload)[:-1]) is None


def test_a_familys_processor_time_and_memory_are_those_of_its_children_too():
    program = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'sum(range(10**7)); print(1, flush=True);"
        "input()'], stdin=0)\n"
        "child.wait()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout and process.stdout.readline() == b"1\n"
        members = family(process.pid)
        assert len(members) == 2 and os.getpid() not in members
        assert cpu_ms(process.pid) > 50
        assert resident_mb(process.pid) > resident_mb(members[1]) > 1
    finally:
        process.communicate(b"\n", timeout=30)


def test_the_reference_goes_on_from_where_it_was(reference: Reference):
    inputs = reference.inputs(3, ROWS)
    first, second = (np.array(y) for y in reference.answers(inputs, 2))
    assert not np.array_equal(first, second)
    bodies = [json.dumps({"outputs": y.tolist()}).encode() for y in (first, second)]
    assert reference.wrong(inputs, bodies) == 0
    assert reference.wrong(inputs, bodies[1:], passed=1) == 0
    assert reference.wrong(inputs, bodies[::-1]) == 2
