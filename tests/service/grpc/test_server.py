"""What the server does with streams, with long messages, and when it stops."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from service.app import create_app
from service.front_state import KEY
from service.grpc.server import serving
from service.grpc.stream import EOF, IN_FLIGHT
from service.link import EngineLink
from service.settings import Settings
from tests.service.fake_engine import in_loop
from tests.service.grpc.conftest import service_pb2
from tests.service.grpc.front import PREDICT, RESULT, cancelled, failed, front


@in_loop
async def test_a_stream_has_no_more_under_way_than_its_bound(tmp_path: Path):
    async with front(tmp_path) as served:
        call = served.stream()()

        async def send() -> None:
            for _ in range(4 * IN_FLIGHT):
                await call.write(PREDICT)
            await call.done_writing()

        sending = asyncio.create_task(send())
        under_way = IN_FLIGHT + 2  # one being written, one waiting for its place
        await served.engine.received(under_way)
        await served.unary("ServerLive")(b"")  # what could come has come
        assert len(served.engine.calls) == under_way
        answered = 0
        while answered < 4 * IN_FLIGHT:
            for asked in (await served.engine.received(answered + 1))[answered:]:
                served.engine.reply(asked.number, RESULT)
                answered += 1
        await sending
        got = [answer.error_message async for answer in call]
        assert got == [""] * (4 * IN_FLIGHT)


@in_loop
async def test_a_cancelled_stream_gives_up_all_that_is_under_way(tmp_path: Path):
    async with front(tmp_path) as served:
        call = served.stream()()
        for _ in range(3):
            await call.write(PREDICT)
        asked = await served.engine.received(3)
        numbers = [one.number for one in asked]
        call.cancel()
        await served.engine.until(lambda: sorted(cancelled(served.engine)) == numbers)
        assert served.count("ModelStreamInfer", "CANCELLED") == 3


@in_loop
async def test_a_server_that_stops_answers_what_it_has_and_says_so_on_streams(tmp_path: Path):
    async with front(tmp_path) as served:
        waiting = asyncio.ensure_future(served.unary()(PREDICT))
        idle, busy = served.stream()(), served.stream()()
        await busy.write(PREDICT)
        asked = await served.engine.received(2)
        await idle.initial_metadata()
        served.state.draining.set()
        ended = await failed(idle.read())
        assert ended.code() is grpc.StatusCode.UNAVAILABLE
        assert ended.details().startswith("draining: ")
        for one in asked:
            served.engine.reply(one.number, RESULT)
        await waiting
        answer = await busy.read()
        assert answer.error_message == ""
        assert (await failed(busy.read())).code() is grpc.StatusCode.UNAVAILABLE


@in_loop
async def test_calls_that_do_not_end_in_time_are_cancelled_when_the_server_stops(tmp_path: Path):
    async with front(tmp_path, drain_s=0.2) as served:
        waiting = asyncio.ensure_future(failed(served.unary()(PREDICT)))
        (asked,) = await served.engine.received(1)
        served.state.draining.set()
        await served.engine.until(lambda: cancelled(served.engine) == [asked.number])
        assert (await waiting).code() in (
            grpc.StatusCode.CANCELLED,
            grpc.StatusCode.UNAVAILABLE,
        )


@in_loop
async def test_a_port_that_cannot_be_listened_on_is_refused_by_name(tmp_path: Path):
    options = Settings(grpc_port=1, host="192.0.2.1")
    state = create_app(options, EngineLink(str(tmp_path / "no"), 1)).state[KEY]
    with pytest.raises(OSError, match="NTM_GRPC_PORT: cannot listen on 192.0.2.1:1"):
        async with serving(state):
            pass


@in_loop
async def test_a_stream_past_the_limit_is_refused_and_one_that_ends_makes_room(tmp_path: Path):
    async with front(tmp_path, max_streams=1) as served:
        first = served.stream()()
        await first.initial_metadata()
        second = served.stream()()
        refused = await failed(second.read())
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refused.details().startswith("too_many_streams: ")
        await first.done_writing()
        assert await first.read() is EOF
        third = served.stream()()
        await third.done_writing()
        assert await third.read() is EOF


@pytest.mark.parametrize("compression", list(grpc.Compression))
def test_a_message_is_bounded_as_a_body_is(tmp_path: Path, compression: grpc.Compression):
    @in_loop
    async def run() -> None:
        async with front(tmp_path, max_body_bytes=5_000_000) as served:
            sizes = {4_900_000: "INVALID_ARGUMENT", 5_100_000: "RESOURCE_EXHAUSTED"}
            for size, code in sizes.items():
                message = service_pb2.ModelInferRequest(raw_input_contents=[bytes(size)])
                call = served.unary()(message.SerializeToString(), compression=compression)
                assert (await failed(call)).code().name == code

    run()
