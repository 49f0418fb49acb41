"""A session's events through the client, and across connections that break."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.client import (
    AsyncClient,
    Client,
    Event,
    InvalidRequest,
    NoAnswer,
    Retries,
    Session,
    SessionNotFound,
)
from tests.service.client.conftest import QUICK
from tests.service.client.faults import Answer, Proxy, Relay
from tests.service.serving import Server, launched, served
from tests.service.stream.socket import rows_of

PATIENCE_S = 30


class Watcher:
    """Reads events in a thread of its own."""

    def __init__(self, events: Iterator[Event]) -> None:
        self.told: queue.Queue[Event | Exception | None] = queue.Queue()
        self._thread = threading.Thread(target=self._read, args=(events,), daemon=True)
        self._thread.start()

    def next(self) -> Event:
        found = self.told.get(timeout=PATIENCE_S)
        assert isinstance(found, Event), found
        return found

    def _read(self, events: Iterator[Event]) -> None:
        try:
            for event in events:
                self.told.put(event)
        except Exception as error:
            self.told.put(error)
        self.told.put(None)


def test_what_was_done_since_the_handle_looked_is_told_until_the_end(ntm: Client, copy: Session):
    other = ntm.open(copy.id)
    outputs = other.step(rows_of(1, 2)).outputs
    other.reset()
    told = Watcher(copy.events(include=("rows", "weights")))
    first, second = told.next(), told.next()
    assert (first.name, first.id, first.data["rows"]) == (
        "stepped",
        f"{copy.core.incarnation}-2",
        2,
    )
    assert np.array_equal(first.data["outputs"], outputs)
    assert np.array_equal(first.data["inputs"], rows_of(1, 2))
    weights = first.data["weights"]["read_weights"]
    assert weights.array.shape == (1, 128) and weights.array.dtype == np.float32
    assert (second.name, second.data["step"]) == ("reset", 0)
    other.delete()
    assert told.next().name == "deleted"
    assert told.told.get(timeout=PATIENCE_S) is None


def test_an_events_id_is_where_to_go_on(copy: Session):
    for seed in range(3):
        copy.step(rows_of(seed, 1))
    told = Watcher(copy.events(after=f"{copy.core.incarnation}-2"))
    assert [told.next().data["step"] for _ in range(2)] == [2, 3]


def test_after_a_break_nothing_is_missing_and_nothing_told_twice(ntm: Client, relay: Relay):
    with ntm.session("copy") as session, Client(relay.url, retries=QUICK) as client:
        told = Watcher(client.open(session.id).events())
        got: list[int] = []
        for turn in range(4):
            session.step(rows_of(turn, 1))
            got.append(told.next().data["step"])
            relay.cut()
            session.step(rows_of(turn, 1))
            got.append(told.next().data["step"])
        assert got == list(range(1, 9))
        assert relay.connections >= 5


@pytest.mark.parametrize("count", [60, 250, 333, 400])
def test_an_event_that_was_cut_in_its_middle_is_told_whole(ntm: Client, relay: Relay, count: int):
    with ntm.session("copy") as session, Client(relay.url, retries=QUICK) as client:
        watched = client.open(session.id)
        for turn in range(3):
            session.step(rows_of(turn, 1))
        client.http.close()
        with Client(relay.url, retries=QUICK) as fresh:
            relay.cut_after(count)  # of the first connection of this client
            watched._client = fresh
            told = Watcher(watched.events())
            assert [told.next().data["step"] for _ in range(3)] == [1, 2, 3]


def test_a_restart_of_the_server_is_waited_for(tmp_path: Path, small: Path):
    store = f"sqlite://{tmp_path}/sessions.db"
    with served(tmp_path, small, NTM_STORE=store) as server:
        port = server.url.rpartition(":")[2]
        with Client(server.url, retries=Retries(count=500, cap_s=0.2, total_s=90)) as client:
            session = client.session("small")
            told = Watcher(session.events())
            session.step(np.ones(7))
            assert told.next().data["step"] == 1
            server.stop()
            settings = {"NTM_STORE": store, "NTM_MODELS": str(small)}
            with launched(tmp_path, "--port", port, **settings) as again:
                again.wait_until_listening()
                session.step(np.ones(7))
                assert told.next().data["step"] == 2
                session.delete()
                assert told.next().name == "deleted"


def test_refusals_that_pass_are_tried_again_and_others_told(ntm: Client, proxy: Proxy):
    with ntm.session("copy") as session, Client(proxy.url, retries=QUICK) as client:
        watched = client.open(session.id)
        before = len(proxy.seen)
        refused = Answer(503, {"retry-after": "0"}, b'{"code": "not_ready"}')
        proxy.plan(refused, Answer(429, {}, b'{"code": "too_many_streams"}'), Answer(404))
        events = watched.events()
        with pytest.raises(Exception) as caught:
            next(events)
        assert getattr(caught.value, "status", None) == 404
        asked = proxy.seen[before:]
        assert [seen.headers["last-event-id"] for seen in asked] == [
            watched.position.etag.strip('"')
        ] * 3
        with pytest.raises(InvalidRequest, match="include"):
            next(watched.events(include=("everything",)))


def test_a_server_that_stays_away_ends_the_watching(ntm: Client, relay: Relay):
    with ntm.session("copy") as session:
        with Client(relay.url) as client:
            watched = client.open(session.id)
            relay.close()
            policy = Retries(count=2, base_s=0.001)
            with pytest.raises(NoAnswer) as caught:
                next(watched.events(retries=policy))
            assert not caught.value.maybe_done
    with pytest.raises(SessionNotFound):
        next(session.events())


async def test_awaited_events_come_across_a_break_too(server: Server, relay: Relay):
    async with AsyncClient(server.url) as near, near.session("copy") as session:
        async with AsyncClient(relay.url, retries=QUICK) as client:
            watched = await client.open(session.id)
            got: list[int] = []
            await session.step(rows_of(0, 1))
            async for event in watched.events(include=("rows",)):
                got.append(event.data["step"])
                assert event.data["outputs"].shape == (1, 8)
                if len(got) == 4:
                    break
                relay.cut()
                await session.step(rows_of(0, 1))
            assert got == [1, 2, 3, 4]
        with pytest.raises(SessionNotFound):
            async with asyncio.timeout(PATIENCE_S):
                await anext(aiter((await near.open("nobody")).events()))
