from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry, Gauge

from service.errors import TooManyStreams
from service.settings import Settings
from service.stream.streams import Streams


def streams(limit: int, keys: str = "") -> tuple[Streams, Gauge, asyncio.Event]:
    gauge, draining = Gauge("open", "", ["kind"], registry=CollectorRegistry()), asyncio.Event()
    settings = Settings(max_streams=limit, tenant_streams=2, keys=keys)
    return Streams(settings, gauge, draining), gauge, draining


async def test_both_kinds_count_against_one_limit_and_leave_room_when_they_end():
    known, gauge, _ = streams(2)
    with known.opened("events", "acme"), known.opened("websocket", "acme"):
        assert gauge.labels("events")._value.get() == 1
        with pytest.raises(TooManyStreams), known.opened("events", "acme"):
            pass
    assert gauge.labels("events")._value.get() == 0
    with known.opened("events", "acme"), known.opened("events", "acme"):
        pass


async def test_where_there_are_keys_a_tenant_has_a_limit_of_its_own():
    known, _, _ = streams(4, keys="keys.json")
    with known.opened("events", "acme"), known.opened("grpc", "acme"):
        with pytest.raises(TooManyStreams, match="2 open streams of a tenant"):
            known.opened("events", "acme").__enter__()
        with known.opened("events", "bell"), known.opened("events", "bell"):
            with pytest.raises(TooManyStreams, match="4 open streams,"):
                known.opened("events", "eve").__enter__()


async def test_work_gives_its_result_or_its_error_unless_the_front_stops():
    known, _, draining = streams(2)

    async def work(error: Exception | None = None) -> int:
        if error is not None:
            raise error
        return 7

    assert await known.unless_draining(work()) == 7
    with pytest.raises(ValueError, match="odd"):
        await known.unless_draining(work(ValueError("odd")))
    waiting = asyncio.ensure_future(known.unless_draining(asyncio.sleep(600)))
    await asyncio.sleep(0)
    draining.set()
    assert await asyncio.wait_for(waiting, 20) is None
