"""Rows over a WebSocket through the client, and across connections that break."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.client import (
    AsyncClient,
    Client,
    Conflict,
    InvalidRequest,
    Misuse,
    NoAnswer,
    Retries,
    Session,
    SessionNotFound,
    StepGap,
    Stepped,
)
from tests.service.client.conftest import QUICK
from tests.service.client.faults import Relay
from tests.service.serving import Server
from tests.service.stream.socket import rows_of


def joined(done: list[Stepped]) -> Any:
    return np.concatenate([step.outputs for step in done])


def test_many_rows_in_flight_are_answered_in_order_as_over_http(ntm: Client, copy: Session):
    rows = rows_of(1, 500)
    wanted = ntm.predict("copy", rows)
    with copy.stream(window=64) as stream:
        done = list(stream.run(rows))
        assert stream.waiting == 0
    assert [step.step for step in done] == list(range(1, 501))
    assert np.array_equal(joined(done), wanted)
    assert copy.step(rows[:1]).step == 501  # the handle knows where the stream left it


def test_rows_are_sent_and_received_one_by_one_as_well(ntm: Client, copy: Session):
    rows = rows_of(2, 30)
    wanted = ntm.predict("copy", rows)
    with copy.stream(window=4) as stream:
        for row in rows[:20]:
            stream.send(row)  # waits by itself where the window is full
        assert stream.waiting == 20
        with pytest.raises(Misuse, match="20 answers"):
            stream.step(rows[20])
        first = [stream.receive() for _ in range(20)]
        with pytest.raises(Misuse, match="every row"):
            stream.receive()
        rest = stream.step(rows[20:], trace=True)
    assert rest.trace is not None and rest.trace["read_weights"].array.shape == (10, 1, 128)
    assert np.array_equal(joined([*first, rest]), wanted)


def test_after_breaks_every_row_is_stepped_once(ntm: Client, relay: Relay):
    rows = rows_of(3, 300)
    wanted = ntm.predict("copy", rows)
    with ntm.session("copy") as session, Client(relay.url, retries=QUICK) as client:
        got: list[Stepped] = []
        with client.open(session.id).stream() as stream:
            for number, done in enumerate(stream.run(rows)):
                got.append(done)
                if number % 70 == 30:
                    relay.cut()
        assert relay.connections >= 5
        assert np.array_equal(joined(got), wanted)
        assert session.info().step == 300


@pytest.mark.parametrize("count", [130, 500, 700, 2000])
def test_a_connection_that_breaks_in_an_answer_or_a_handshake_is_taken_up_again(
    ntm: Client, relay: Relay, count: int
):
    rows = rows_of(4, 40)
    wanted = ntm.predict("copy", rows)
    with ntm.session("copy") as session, Client(relay.url, retries=QUICK) as client:
        opened = client.open(session.id)
        relay.cut_after(count)  # of the stream's connection, which is the next
        with opened.stream() as stream:
            assert np.array_equal(joined(list(stream.run(rows))), wanted)
        assert session.info().step == 40 and relay.connections >= 3


def test_a_refused_frame_is_told_in_its_turn_and_the_stream_goes_on(copy: Session):
    rows = rows_of(5, 4)
    with copy.stream() as stream:
        stream.send(rows[0])
        stream.send(rows[:, :5])
        stream.send(rows[1])
        assert stream.receive().step == 1
        with pytest.raises(InvalidRequest) as caught:
            stream.receive()
        assert caught.value.code == "wrong_shape" and caught.value.request_id
        with pytest.raises(StepGap):
            stream.receive()
        assert stream.step(rows[1]).step == 2
    assert copy.info().step == 2


def test_somebody_elses_rows_are_a_conflict(ntm: Client, copy: Session):
    with copy.stream() as stream:
        stream.step(rows_of(6, 1))
        ntm.open(copy.id).step(rows_of(7, 2))
        with pytest.raises(Conflict) as caught:
            stream.step(rows_of(8, 1) + 0.5)
        assert caught.value.code == "rows_differ"


def test_a_session_that_is_gone_ends_its_stream(ntm: Client):
    session = ntm.session("copy")
    with session.stream() as stream:
        stream.step(rows_of(1, 1))
        session.delete(if_match="*")
        with pytest.raises(SessionNotFound):
            stream.step(rows_of(1, 1))
            stream.step(rows_of(1, 1))
    with pytest.raises(SessionNotFound):
        with session.stream():
            raise AssertionError("it opened")


def test_one_that_was_begun_anew_under_the_id_is_not_stepped(ntm: Client, relay: Relay):
    session = ntm.session("copy", id="reborn")
    with Client(relay.url, retries=QUICK) as client:
        with client.open("reborn").stream() as stream:
            stream.step(rows_of(1, 1))
            relay.cut()
            session.delete(if_match="*")
            with ntm.session("copy", id="reborn") as second:
                with pytest.raises(SessionNotFound):
                    stream.step(rows_of(1, 1))
                assert second.info().step == 0


def test_a_server_that_stays_away_ends_the_stream_and_says_what_it_does_not_know(
    ntm: Client, relay: Relay
):
    with ntm.session("copy") as session:
        with Client(relay.url, retries=Retries(count=2, base_s=0.001)) as client:
            with client.open(session.id).stream() as stream:
                stream.step(rows_of(1, 1))
                relay.close()
                with pytest.raises(NoAnswer) as caught:
                    stream.step(rows_of(1, 1))
                assert caught.value.maybe_done
        with pytest.raises(Misuse, match="not open"):
            session.stream().send(rows_of(1, 1))


async def test_awaited_rows_are_stepped_once_across_breaks_too(server: Server, relay: Relay):
    rows = rows_of(9, 200)
    async with AsyncClient(server.url) as near, near.session("copy") as session:
        wanted = await near.predict("copy", rows)
        got: list[Stepped] = []
        async with AsyncClient(relay.url, retries=QUICK) as client:
            async with (await client.open(session.id)).stream(window=16) as stream:
                async for done in stream.run(rows[:199]):
                    got.append(done)
                    if done.step % 50 == 20:
                        relay.cut()
                got.append(await stream.step(rows[199]))
                with pytest.raises(InvalidRequest):
                    await stream.step(rows[:, :2])
                with pytest.raises(Misuse):
                    await stream.receive()
        assert np.array_equal(joined(got), wanted)
        assert relay.connections >= 4 and (await session.info()).step == 200
