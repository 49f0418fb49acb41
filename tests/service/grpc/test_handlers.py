"""What is around every call: cancelling, deadlines, request ids, failures and their count."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from service.app import create_app
from service.errors import Internal, NtmError, QueueFull, StoreAway
from service.front_state import KEY, FrontState
from service.grpc import calls
from service.grpc.schema import SERVICE
from service.grpc.server import serving
from service.link import EngineLink
from service.settings import Settings
from tests.service.fake_engine import in_loop
from tests.service.grpc.conftest import kept_port, service_pb2
from tests.service.grpc.front import OPTIONS, PREDICT, RESULT, cancelled, failed, front


@in_loop
async def test_a_client_that_cancels_makes_the_engine_give_its_request_up(tmp_path: Path):
    async with front(tmp_path) as served:
        call = served.unary()(PREDICT)
        (asked, *_) = await served.engine.received(1)
        call.cancel()
        await served.engine.until(lambda: cancelled(served.engine) == [asked.number])
    assert served.count("ModelInfer", "CANCELLED") == 1


@in_loop
async def test_a_client_s_deadline_goes_with_the_request_to_the_engine(tmp_path: Path):
    async with front(tmp_path, request_timeout_s=30) as served:
        waiting = asyncio.ensure_future(served.unary()(PREDICT, timeout=7))
        (asked,) = await served.engine.received(1)
        assert 6 < asked.timeout_s <= 7
        served.engine.reply(asked.number, RESULT)
        await waiting


@in_loop
async def test_a_deadline_past_the_server_s_own_does_not_lengthen_it(tmp_path: Path):
    async with front(tmp_path, request_timeout_s=5) as served:
        waiting = asyncio.ensure_future(served.unary()(PREDICT, timeout=9))
        (asked,) = await served.engine.received(1)
        assert asked.timeout_s == 5
        served.engine.reply(asked.number, RESULT)
        await waiting


@in_loop
async def test_a_deadline_that_passes_makes_the_engine_give_up(tmp_path: Path):
    async with front(tmp_path) as served:
        error = await failed(served.unary()(PREDICT, timeout=0.2))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        (asked, *_) = await served.engine.received(1)
        await served.engine.until(lambda: cancelled(served.engine) == [asked.number])


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (QueueFull("4096 wait"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (StoreAway("no answer"), grpc.StatusCode.UNAVAILABLE),
        (Internal("no luck"), grpc.StatusCode.INTERNAL),
    ],
)
def test_a_failure_of_the_engine_has_its_status_and_is_counted(
    tmp_path: Path, error: NtmError, status: grpc.StatusCode
):
    @in_loop
    async def run() -> None:
        async with front(tmp_path) as served:
            waiting = asyncio.ensure_future(failed(served.unary()(PREDICT)))
            (asked,) = await served.engine.received(1)
            served.engine.fail(asked.number, error)
            told = await waiting
            assert (told.code(), told.details()) == (status, f"{error.code}: {error.detail}")
            registry = served.state.metrics.registry
            assert registry.get_sample_value("ntm_errors_total", {"code": error.code}) == 1
            assert served.count("ModelInfer", status.name) == 1

    run()


@in_loop
async def test_without_an_engine_the_server_lives_and_is_not_ready(tmp_path: Path):
    with kept_port() as port:
        link = EngineLink(str(tmp_path / "nobody"), 5)
        state: FrontState = create_app(Settings(grpc_port=port), link).state[KEY]
        address = f"127.0.0.1:{port}"
        async with serving(state), grpc.aio.insecure_channel(address, options=OPTIONS) as channel:

            async def ask(method: str, data: bytes = b"") -> bytes:
                return await channel.unary_unary(f"/{SERVICE}/{method}", None, None)(data)

            assert service_pb2.ServerLiveResponse.FromString(await ask("ServerLive")).live
            ready = service_pb2.ServerReadyResponse.FromString(await ask("ServerReady"))
            assert not ready.ready
            error = await failed(ask("ModelInfer", PREDICT))
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert error.details().startswith("engine_unavailable: ")


@in_loop
async def test_a_defect_is_told_without_its_traceback_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    async def broken(call: Any, message: Any) -> Any:
        raise ZeroDivisionError("secret")

    monkeypatch.setitem(calls.METHODS, "ServerLive", (broken, "open"))
    async with front(tmp_path) as served:
        call = served.unary("ServerLive")(b"", metadata=(("x-request-id", "mine-1"),))
        error = await failed(call)
    assert error.code() is grpc.StatusCode.INTERNAL
    assert error.details() == (
        "internal: the server failed; its log has more under this request id"
    )
    (record,) = caplog.records
    assert vars(record)["request_id"] == "mine-1"
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(("given", "kept"), [("mine-1", True), ("not ours", False), ("", False)])
def test_every_call_has_a_request_id_the_client_s_where_it_is_fit(
    tmp_path: Path, given: str, kept: bool
):
    @in_loop
    async def run() -> None:
        async with front(tmp_path) as served:
            call = served.unary("ServerLive")(b"", metadata=(("x-request-id", given),))
            told = dict(await call.initial_metadata())["x-request-id"]
            assert (told == given) is kept
            assert told
            await call

    run()


@in_loop
async def test_a_request_id_goes_to_the_engine(tmp_path: Path):
    async with front(tmp_path) as served:
        call = served.unary()(PREDICT, metadata=(("x-request-id", "mine-2"),))
        (asked,) = await served.engine.received(1)
        assert asked.request_id == "mine-2"
        served.engine.reply(asked.number, RESULT)
        await call
