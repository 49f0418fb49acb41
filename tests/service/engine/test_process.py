"""The engine's process, over its real socket: frames in, frames out, signals."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from service.frames import LENGTH_BYTES, MAX_FRAME_BYTES, frame_of
from service.messages import Call, Reply
from service.requests import Create, Describe, Guard, Health, Memory, Metrics, Request, Steps
from service.results import SessionInfo, StateResult, StepsResult
from tests.service.engine.driver import rows_of

PATIENCE_S = 30.0
REPLIES = msgspec.msgpack.Decoder(list[Reply])
RESULTS: dict[type, type] = {
    Create: SessionInfo,
    Describe: SessionInfo,
    Memory: StateResult,
    Metrics: bytes,
    Steps: StepsResult,
}


class Front:
    """One connection to the engine, as a front has it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.number = 0
        self.replies: dict[int, Reply] = {}

    def write(self, *calls: Call) -> None:
        """Send calls as one frame."""
        self.writer.write(frame_of(calls))

    def begin(self, request: Request, timeout_s: float = 60.0) -> int:
        """Send a request. Returns its number."""
        self.number += 1
        self.write(Call(self.number, request, timeout_s))
        return self.number

    async def reply(self, number: int) -> Reply:
        """The reply of that number. Raises IncompleteReadError where the engine hangs up."""
        async with asyncio.timeout(PATIENCE_S):
            while number not in self.replies:
                head = await self.reader.readexactly(LENGTH_BYTES)
                frame = await self.reader.readexactly(int.from_bytes(head, "little"))
                self.replies |= {reply.number: reply for reply in REPLIES.decode(frame)}
        return self.replies.pop(number)

    async def call(self, request: Request) -> Any:
        """The result of a request that succeeds."""
        reply = await self.reply(self.begin(request))
        assert reply.failure is None, reply.failure
        return msgspec.msgpack.decode(reply.result, type=RESULTS.get(type(request), object))

    async def hung_up(self) -> bool:
        """Does the engine close this connection, without another byte?"""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read() == b""


class Process:
    """A running engine."""

    def __init__(self, child: asyncio.subprocess.Process, socket: Path) -> None:
        self.child, self.socket = child, socket

    @asynccontextmanager
    async def front(self) -> AsyncIterator[Front]:
        """A new connection."""
        reader, writer = await asyncio.open_unix_connection(str(self.socket), limit=1 << 16)
        try:
            yield Front(reader, writer)
        finally:
            writer.close()

    async def exit_code(self) -> int:
        """Wait for its end."""
        return await asyncio.wait_for(self.child.wait(), PATIENCE_S)


def environment(folder: Path, socket: Path, **settings: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NTM_")}
    ours = {
        "NTM_MODELS": str(folder),
        "NTM_ENGINE_SOCKET": str(socket),
        "NTM_DEVICE": "cpu",
        "NTM_STORE": "memory",
        "NTM_MAX_BATCH": "4",
        "NTM_SLOTS": "8",
    }
    return {**kept, **ours, **settings}


async def started(folder: Path, socket: Path, **settings: str) -> Process:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service.engine.process"),
        env=environment(folder, socket, **settings),
        stderr=asyncio.subprocess.DEVNULL,
    )
    process = Process(child, socket)
    async with asyncio.timeout(PATIENCE_S):
        while child.returncode is None:
            try:
                async with process.front() as front:
                    await front.call(Health())
                    return process
            except (FileNotFoundError, ConnectionRefusedError):
                await asyncio.sleep(0.05)
    raise RuntimeError(f"the engine ended with {child.returncode}")


@pytest.fixture
async def engine(folder: Path, tmp_path: Path) -> AsyncIterator[Process]:
    """An engine's process of the test's own."""
    process = await started(folder, tmp_path / "engine.sock")
    yield process
    if process.child.returncode is None:
        process.child.kill()
        await process.exit_code()


def creation(name: str) -> Create:
    return Create("alice", "copy", None, name, None, None, Guard())


def steps(name: str, rows: Any, trace: bool = False) -> Steps:
    return Steps("alice", name, rows.tobytes(), rows.shape, trace, Guard())


async def metric(front: Front, name: str) -> float:
    """A metric's value by its whole name, labels included."""
    for line in (await front.call(Metrics())).decode().splitlines():
        if line.startswith(name + " "):
            return float(line.rsplit(" ", 1)[1])
    raise KeyError(name)


async def until_metric(front: Front, name: str, holds: Callable[[float], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds(await metric(front, name)):
            await asyncio.sleep(0.005)


MALFORMED = {
    "no msgpack": (5).to_bytes(4, "little") + b"\xc1\xff\x00\xff\xc1",
    "no array of calls": frame_of(["hello"]),  # pyright: ignore
    "an unknown request": frame_of([[7, ["shout", "alice"], 1.0, 0, ""]]),  # pyright: ignore
    "a text of half a character": (6).to_bytes(4, "little") + b"\x91\x95\x01\xa2\xc3\xc3",
    "too long": (MAX_FRAME_BYTES + 1).to_bytes(4, "little"),
    "100,000 arrays deep": (100_006).to_bytes(4, "little")
    + b"\x91\x96\x01\xc0\x00\x00"
    + b"\x91" * 100_000,
}


async def test_a_malformed_frame_closes_its_own_connection_alone(engine: Process) -> None:
    async with engine.front() as good:
        await good.call(creation("s"))
        running = good.begin(steps("s", rows_of(0, 400)))
        for name, frame in MALFORMED.items():
            async with engine.front() as bad:
                assert (await bad.call(Health()))["ready"], name
                bad.writer.write(frame)
                assert await bad.hung_up(), name
        assert (await good.reply(running)).failure is None
        assert (await good.call(Describe("alice", "s"))).step == 400


async def test_frames_cut_anywhere_and_many_in_one_piece_are_read_alike(engine: Process) -> None:
    async with engine.front() as front:
        await front.call(creation("s"))
        calls = [Call(100 + n, steps("s", rows_of(n, 1)), 60.0) for n in range(6)]
        data = b"".join(frame_of(calls[at : at + 2]) for at in (0, 2, 4))
        for at in range(0, len(data), 97):
            front.writer.write(data[at : at + 97])
            await front.writer.drain()

        replies = [await front.reply(100 + n) for n in range(6)]
        results = [msgspec.msgpack.decode(r.result, type=StepsResult) for r in replies]
        assert [result.step for result in results] == [1, 2, 3, 4, 5, 6]


async def test_no_series_tells_when_a_counter_began(engine: Process) -> None:
    async with engine.front() as front:
        await front.call(creation("s"))
        text = await front.call(Metrics())
    assert b"ntm_commit_seconds_count" in text and b"_created" not in text


async def test_a_front_that_disappears_cancels_its_jobs(engine: Process) -> None:
    depth = 'ntm_queue_depth{model="copy"}'
    async with engine.front() as watcher:
        await watcher.call(creation("s"))
        async with engine.front() as front:
            for n in range(3):
                front.begin(steps("s", rows_of(n, 4096)))
            await until_metric(watcher, depth, lambda value: value == 3)
        await until_metric(watcher, depth, lambda value: value == 0)

        assert (await watcher.call(Describe("alice", "s"))).step == 0
        assert (await watcher.call(steps("s", rows_of(0, 2)))).step == 2


async def test_a_cancelled_call_is_given_up_and_the_connection_goes_on(engine: Process) -> None:
    async with engine.front() as front:
        await front.call(creation("s"))
        number = front.begin(steps("s", rows_of(0, 4096)))
        front.write(Call(0, None, cancel=number), Call(0, None, cancel=12345))

        reply = await front.reply(number)

        assert reply.failure is not None and reply.failure.code == "client_gone"
        assert (await front.call(Describe("alice", "s"))).step == 0


async def test_a_sigterm_answers_what_was_taken_in_then_ends(engine: Process) -> None:
    async with engine.front() as front, engine.front() as other:
        await front.call(creation("s"))
        whole, behind = (front.begin(steps("s", rows_of(n, 2000))) for n in range(2))
        await until_metric(other, 'ntm_queue_depth{model="copy"}', lambda value: value == 2)

        engine.child.send_signal(signal.SIGTERM)
        failure = None
        while failure is None:  # the signal takes a moment
            failure = (await other.reply(other.begin(Health()))).failure
        assert failure.code == "draining"

        results = [
            msgspec.msgpack.decode((await front.reply(n)).result, type=StepsResult)
            for n in (whole, behind)
        ]
        assert [result.step for result in results] == [2000, 4000]
        assert await front.hung_up() and await other.hung_up()
    assert await engine.exit_code() == 0


async def test_an_answer_that_fills_the_socket_is_sent_to_its_end_after_a_sigterm(
    engine: Process,
) -> None:
    async with engine.front() as front, engine.front() as other:
        await front.call(creation("s"))
        number = front.begin(steps("s", rows_of(0, 2000), trace=True))
        await until_metric(other, 'ntm_rows_total{model="copy"}', lambda rows: rows == 2000)
        await until_metric(other, 'ntm_queue_depth{model="copy"}', lambda waiting: waiting == 0)
        engine.child.send_signal(signal.SIGTERM)
        assert await other.hung_up()  # it has nothing more to run, only to send

        reply = await front.reply(number)

        result = msgspec.msgpack.decode(reply.result, type=StepsResult)
        assert result.step == 2000 and result.trace is not None
        assert [len(t.data) for t in result.trace] == [2000 * 2 * 512, 2000 * 3 * 512]
        weights = np.frombuffer(result.trace[0].data, np.float32).reshape(2000, 2, 128)
        assert np.allclose(weights.sum(-1), 1, atol=1e-4)
    assert await engine.exit_code() == 0


async def test_two_fronts_share_sessions_and_their_numbers_do_not_mix(engine: Process) -> None:
    async with engine.front() as one, engine.front() as two:
        await one.call(creation("s"))
        first, second = one.begin(steps("s", rows_of(0, 3))), two.begin(steps("s", rows_of(1, 4)))
        third = two.begin(steps("s", rows_of(2, 5)))

        replies = [await one.reply(first), await two.reply(second), await two.reply(third)]

        results = [msgspec.msgpack.decode(r.result, type=StepsResult) for r in replies]
        assert [result.dims[0] for result in results] == [3, 4, 5]
        assert max(result.step for result in results) == 12
        assert await one.call(Memory("alice", "s")) == await two.call(Memory("alice", "s"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"NTM_MODELS": "/nowhere"}, "no bundle in /nowhere"),
        ({"NTM_RUNTIME": "torchscript"}, "needs NTM_TRUST_CODE=1"),
    ],
    ids=["models", "runtime"],
)
async def test_an_engine_that_cannot_serve_says_why_and_ends_with_2(
    folder: Path, tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service.engine.process"),
        env=environment(folder, tmp_path / "engine.sock", **settings),
        stderr=asyncio.subprocess.PIPE,
    )
    _, error = await asyncio.wait_for(child.communicate(), PATIENCE_S)

    assert child.returncode == 2
    assert said in error.decode() and "Traceback" not in error.decode()
