import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from service import link as link_module
from service.errors import (
    BodyTooLarge,
    ClientGone,
    CommitUnknown,
    DeadlineExceeded,
    EngineUnavailable,
    QueueFull,
)
from service.frames import LENGTH_BYTES, MAX_FRAME_BYTES
from service.link import EngineLink
from service.requests import Describe, Guard, Health, Memory, Predict, Steps
from service.results import HealthInfo
from tests.service.fake_engine import FakeEngine, in_loop

HEALTH = msgspec.msgpack.Decoder(HealthInfo)
TEXT = msgspec.msgpack.Decoder(str)
READ = Describe("default", "s")
STEP = Steps("default", "s", b"\0" * 36, (1, 9), False, Guard())


@asynccontextmanager
async def linked(folder: Path, timeout_s: float = 10.0) -> AsyncIterator[tuple[EngineLink, Any]]:
    """A link and the fake engine it is connected to."""
    async with FakeEngine(str(folder / "engine.sock")) as engine:
        link = EngineLink(engine.path, timeout_s)
        await link.open()
        await engine.until(lambda: engine.connected)
        try:
            yield link, engine
        finally:
            await link.close()


def calling(link: EngineLink, request: Any, **options: Any) -> asyncio.Task[str]:
    """A call under way."""
    return asyncio.create_task(link.call(TEXT, request, **options))


@in_loop
async def test_a_call_that_is_alone_goes_at_once_and_the_rest_of_a_turn_in_one_frame(
    tmp_path: Path,
):
    async with linked(tmp_path) as (link, engine):
        tasks = [calling(link, READ) for _ in range(5)]
        await engine.received(5)
        assert [len(frame) for frame in engine.frames] == [1, 4]
        for call in engine.calls:
            engine.reply(call.number, "done")
        assert await asyncio.gather(*tasks) == ["done"] * 5


@in_loop
async def test_each_caller_gets_its_own_answer_in_whatever_order_they_come(tmp_path: Path):
    async with linked(tmp_path) as (link, engine):
        tasks = [calling(link, Describe("default", name)) for name in "abc"]
        for call in reversed(await engine.received(3)):
            engine.reply(call.number, f"of {call.request.session}")
        assert await asyncio.gather(*tasks) == ["of a", "of b", "of c"]


@in_loop
async def test_a_call_tells_its_request_id_and_the_time_that_is_left(tmp_path: Path):
    async with linked(tmp_path, timeout_s=7.0) as (link, engine):
        tasks = [calling(link, READ, request_id="abc"), calling(link, READ, timeout_s=2.5)]
        first, second = await engine.received(2)
        assert (first.request_id, first.timeout_s, second.timeout_s) == ("abc", 7.0, 2.5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@in_loop
async def test_a_failure_arrives_as_its_error_with_its_extra_members(tmp_path: Path):
    async with linked(tmp_path) as (link, engine):
        task = calling(link, STEP)
        (call,) = await engine.received(1)
        engine.fail(call.number, QueueFull("full", expected=3, got=4))
        with pytest.raises(QueueFull, match="full") as caught:
            await task
        assert caught.value.extra == {"expected": 3, "got": 4}


@in_loop
async def test_without_an_engine_a_call_fails_at_once(tmp_path: Path):
    link = EngineLink(str(tmp_path / "nobody.sock"), 10.0)
    await link.open()
    with pytest.raises(EngineUnavailable):
        await link.call(HEALTH, Health())
    await link.close()


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (STEP, CommitUnknown),
        (READ, EngineUnavailable),
        (Memory("default", "s"), EngineUnavailable),
        (Predict("default", "copy", None, b"\0" * 36, (1, 9)), EngineUnavailable),
    ],
)
@in_loop
async def test_when_the_engine_dies_only_a_mutation_that_it_had_is_in_doubt(
    tmp_path: Path, request_: Any, error: type[Exception]
):
    async with linked(tmp_path) as (link, engine):
        task = calling(link, request_)
        await engine.received(1)
        engine.drop()
        with pytest.raises(error):
            await task


@in_loop
async def test_a_mutation_that_was_never_sent_is_not_in_doubt(tmp_path: Path):
    async with linked(tmp_path) as (link, _):
        before, task = calling(link, READ), calling(link, STEP)
        await asyncio.sleep(0)  # the second is gathered, its frame not written yet
        link.connection_lost(None)
        for call in (before, task):
            with pytest.raises(EngineUnavailable):
                await call


@in_loop
async def test_the_link_connects_again_to_an_engine_that_came_back(tmp_path: Path):
    path = tmp_path / "engine.sock"
    async with linked(tmp_path) as (link, engine):
        engine.drop()
        await engine.until(lambda: engine.connections == 2)
        task = calling(link, READ)
        (call,) = await engine.received(1)
        engine.reply(call.number, "again")
        assert await task == "again"
    path.unlink(missing_ok=True)


@in_loop
async def test_a_cancelled_caller_makes_the_engine_give_the_call_up(tmp_path: Path):
    async with linked(tmp_path) as (link, engine):
        task = calling(link, STEP)
        (call,) = await engine.received(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        told = (await engine.received(2))[1]
        assert (told.cancel, told.request) == (call.number, None)


@in_loop
async def test_a_client_that_goes_away_makes_the_engine_give_its_call_up(tmp_path: Path):
    gone = asyncio.Event()

    async def receive() -> dict[str, str]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async with linked(tmp_path) as (link, engine):
        task = calling(link, STEP, receive=receive)
        (call,) = await engine.received(1)
        gone.set()
        with pytest.raises(ClientGone):
            await task
        assert (await engine.received(2))[1].cancel == call.number


@in_loop
async def test_the_watch_over_a_client_ends_with_its_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(link_module, "SWEEP_S", 0.005)
    watched, ended = asyncio.Event(), asyncio.Event()

    async def receive() -> dict[str, str]:
        watched.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return {}

    async with linked(tmp_path) as (link, engine):
        task = calling(link, STEP, receive=receive)
        (call,) = await engine.received(1)
        await watched.wait()
        engine.reply(call.number, "done")
        assert await task == "done"
        await ended.wait()


@pytest.mark.parametrize(("request_", "error"), [(STEP, CommitUnknown), (READ, DeadlineExceeded)])
@in_loop
async def test_an_answer_past_its_deadline_is_given_up_and_ignored(
    tmp_path: Path, request_: Any, error: type[Exception], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(link_module, "SWEEP_S", 0.005)
    monkeypatch.setattr(link_module, "GRACE_S", 0.0)
    async with linked(tmp_path, timeout_s=0.02) as (link, engine):
        with pytest.raises(error):
            await link.call(TEXT, request_)
        call, told = await engine.received(2)
        assert told.cancel == call.number
        engine.reply(call.number, "too late")
        task = calling(link, READ, timeout_s=10.0)
        engine.reply((await engine.received(3))[2].number, "in time")
        assert await task == "in time"


@in_loop
async def test_a_call_longer_than_a_frame_fails_and_leaves_the_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def small(messages: Any) -> Any:
        return frames_of(messages, 1000)

    frames_of = link_module.frames_of
    monkeypatch.setattr(link_module, "frames_of", small)
    async with linked(tmp_path) as (link, engine):
        long = calling(link, Steps("default", "s", b"\0" * 2000, (1, 500), False, Guard()))
        short = calling(link, READ)
        (call,) = await engine.received(1)
        engine.reply(call.number, "done")
        assert await short == "done"
        with pytest.raises(BodyTooLarge):
            await long


@pytest.mark.parametrize(
    "garbage",
    [
        (MAX_FRAME_BYTES + 1).to_bytes(LENGTH_BYTES, "little"),
        (3).to_bytes(LENGTH_BYTES, "little") + b"\xff\xff\xff",
        (1).to_bytes(LENGTH_BYTES, "little") + b"\x01",
    ],
    ids=["a frame too long", "no msgpack", "no replies"],
)
@in_loop
async def test_an_engine_that_sends_garbage_is_hung_up_on(tmp_path: Path, garbage: bytes):
    async with linked(tmp_path) as (link, engine):
        task = calling(link, READ)
        await engine.received(1)
        engine.send(garbage)
        with pytest.raises(EngineUnavailable):
            await task
        await engine.until(lambda: engine.connections == 2)
