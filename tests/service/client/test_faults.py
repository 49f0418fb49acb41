"""Answers lost, requests refused, the engine killed: no row is lost, none is stepped twice."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.client import (
    AsyncClient,
    Client,
    CommitUnknown,
    NoAnswer,
    Retries,
    RevisionMismatch,
    SessionNotFound,
)
from tests.service.client.conftest import QUICK
from tests.service.client.faults import DROP, LOSE, Answer, Proxy
from tests.service.serving import Server, served
from tests.service.stream.socket import rows_of

AWAY = Answer(503, {"retry-after": "0"}, b'{"code": "engine_unavailable", "detail": "away"}')
UNKNOWN = Answer(503, {}, b'{"code": "commit_unknown", "detail": "who knows"}', forward=True)
BUSY = Answer(429, {"retry-after": "0"}, b'{"code": "queue_full"}')
GATEWAY = Answer(504, {}, b"<p>gateway timeout</p>", forward=True)
EVERY = (DROP, LOSE, AWAY, UNKNOWN, BUSY, GATEWAY)


def uninterrupted(client: Client, parts: list[Any]) -> list[Any]:
    """What a session answers that nothing disturbs."""
    with client.session("copy") as session:
        return [session.step(part).outputs for part in parts]


@pytest.mark.parametrize("fault", EVERY, ids=["drop", "lose", "away", "unknown", "busy", "gateway"])
def test_a_step_whose_answer_is_lost_is_stepped_once(
    ntm: Client, behind: Client, proxy: Proxy, fault: str | Answer
):
    parts = [rows_of(seed, 2) for seed in range(3)]
    wanted = uninterrupted(ntm, parts)
    with behind.session("copy") as session:
        got = [session.step(parts[0])]
        proxy.plan(fault, fault)
        got += [session.step(part) for part in parts[1:]]
        assert session.info().step == 6 and session.position.revision == 4
    assert [done.step for done in got] == [2, 4, 6]
    for done, outputs in zip(got, wanted, strict=True):
        assert np.array_equal(done.outputs, outputs)
    tries = [seen for seen in proxy.seen if seen.path.endswith("/steps")][1:4]
    assert tries[0] == tries[1] == tries[2]  # the same bytes and headers, key and If-Match too
    assert got[1].replayed == (fault in (LOSE, UNKNOWN, GATEWAY))


def test_every_other_mutation_is_done_once_too(behind: Client, proxy: Proxy):
    proxy.plan(LOSE)
    with behind.session("copy") as session:
        session.step(rows_of(1, 3))
        proxy.plan(LOSE)
        assert session.snapshot("s").name == "s"
        for move in (
            lambda: session.restore(snapshot="s"),
            lambda: session.migrate("1"),
            lambda: session.import_state(session.export_state()),
            session.reset,
        ):
            before = session.position.revision
            proxy.plan(*((DROP, LOSE, UNKNOWN) if move is not session.reset else (LOSE,)))
            move()
            while proxy.left:
                session.info()
            assert session.info().revision == before + 1
        proxy.plan(LOSE)
        fork = session.fork()
        assert [info.forked_from for info in behind.sessions()].count(session.id) == 1
        proxy.plan(LOSE)
        fork.delete()
        with pytest.raises(SessionNotFound):
            fork.info()
        assert [snapshot.name for snapshot in session.snapshots()] == ["s"]
        proxy.plan(LOSE)


def test_a_drawn_session_is_created_once_though_its_answer_was_lost(
    ntm: Client, behind: Client, proxy: Proxy
):
    before = {info.id for info in ntm.sessions()}
    proxy.plan(LOSE, UNKNOWN)
    with behind.session("small") as session:
        assert {info.id for info in ntm.sessions()} - before == {session.id}


def test_a_retry_older_than_the_kept_replies_is_refused_and_told_honestly(
    tmp_path: Path, small: Path
):
    """Its If-Match does not hold any more, so that it is never a second step."""
    rows = np.ones((1, 7), np.float32)
    with served(tmp_path, small, NTM_KEPT_REPLIES="1") as server, Client(server.url) as client:
        with client.session("small") as session:
            etag = session.position.etag
            session.step(rows, key="old")
            session.step(rows)
            session.step(rows)
            late = client.open(session.id)
            with pytest.raises(RevisionMismatch):
                late.step(rows, key="old", if_match=etag)
            assert session.info().step == 3


def test_a_412_after_a_lost_answer_says_what_may_have_happened(behind: Client, proxy: Proxy):
    conflict = Answer(412, {}, b'{"code": "revision_mismatch", "detail": "elsewhere"}')
    with behind.session("copy") as session:
        proxy.plan(LOSE, conflict)
        with pytest.raises(RevisionMismatch) as caught:
            session.step(rows_of(1, 1))
        assert caught.value.maybe_done and caught.value.attempts == 2
        assert "may have been carried out" in str(caught.value)
        assert session.info().step == 1  # and so it was


def test_an_outcome_that_stayed_unknown_is_found_out_with_the_same_key(
    behind: Client, proxy: Proxy
):
    rows = rows_of(2, 2)
    with behind.session("copy") as session:
        for fault, kind in ((UNKNOWN, CommitUnknown), (LOSE, NoAnswer)):
            before = session.position.step
            proxy.plan(fault)
            with pytest.raises(kind) as caught:
                session.step(rows, retries=Retries(0))
            assert caught.value.maybe_done and caught.value.key
            done = session.step(rows, key=caught.value.key)
            assert (done.replayed, done.step) == (True, before + 2)
            assert session.step(rows).step == before + 4


async def test_awaited_retries_lose_and_double_nothing_either(
    ntm: Client, proxy: Proxy, server: Server
):
    parts = [rows_of(seed, 2) for seed in range(len(EVERY))]
    wanted = await asyncio.to_thread(uninterrupted, ntm, parts)
    async with AsyncClient(proxy.url, retries=QUICK) as client, client.session("copy") as session:
        for part, outputs, fault in zip(parts, wanted, EVERY, strict=True):
            proxy.plan(fault)
            assert np.array_equal((await session.step(part)).outputs, outputs)
        assert (await session.info()).step == 2 * len(parts)
        proxy.plan(LOSE)


@pytest.fixture(scope="module")
def killable(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on a file, whose engine the tests kill."""
    folder = tmp_path_factory.mktemp("killable")
    with served(folder, models, NTM_STORE=f"sqlite://{folder}/sessions.db") as server:
        yield server


def kill_engine(server: Server) -> None:
    for pid in server.children("service.engine.process"):
        os.kill(pid, signal.SIGKILL)


class Killer:
    """Kills the engine whenever as many steps more were answered."""

    def __init__(self, server: Server, every: int, kills: int) -> None:
        self._server, self._every, self.left = server, every, kills
        self._answered = 0
        self._soon = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def answered(self) -> None:
        self._answered += 1
        if self._answered % self._every == 0:
            self._soon.set()

    def end(self) -> None:
        self.left = 0
        self._soon.set()
        self._thread.join(30)

    def _run(self) -> None:
        while self.left:
            self._soon.wait(60)
            self._soon.clear()
            if self.left:
                self.left -= 1
                kill_engine(self._server)  # in the middle of whatever the client does now


PATIENT = Retries(count=100, base_s=0.05, cap_s=0.5, total_s=90.0)


def test_steps_go_on_through_kills_of_the_engine(killable: Server):
    parts = [rows_of(seed, seed % 4 + 1) for seed in range(60)]
    with Client(killable.url, retries=PATIENT) as client:
        wanted = uninterrupted(client, parts)
        with client.session("copy") as session:
            killer = Killer(killable, every=20, kills=2)
            for part, outputs in zip(parts, wanted, strict=True):
                assert np.array_equal(session.step(part).outputs, outputs)
                killer.answered()
            left = killer.left
            killer.end()
            info = session.info()
            assert (info.step, info.revision) == (sum(map(len, parts)), len(parts) + 1)
            assert left == 0


async def test_awaited_steps_go_on_through_kills_of_the_engine(killable: Server):
    parts = [rows_of(seed, 2) for seed in range(30)]
    async with AsyncClient(killable.url, retries=PATIENT) as client:
        async with client.session("copy") as calm, client.session("copy") as session:
            wanted = [(await calm.step(part)).outputs for part in parts]
            killer = Killer(killable, every=12, kills=1)
            for part, outputs in zip(parts, wanted, strict=True):
                assert np.array_equal((await session.step(part)).outputs, outputs)
                killer.answered()
            await asyncio.to_thread(killer.end)
            assert (await session.info()).step == 60


def test_a_stream_of_rows_goes_on_through_kills_of_the_engine(killable: Server):
    rows = rows_of(3, 400)
    with Client(killable.url, retries=PATIENT) as client:
        wanted = client.predict("copy", rows)
        with client.session("copy") as session, session.stream() as stream:
            killer = Killer(killable, every=150, kills=2)
            got: list[Any] = []
            for done in stream.run(rows):
                got.append(done.outputs)
                killer.answered()
            killer.end()
            assert np.array_equal(np.concatenate(got), wanted)
            assert session.info().step == 400
