"""Two servers on one Redis: what one does reaches those who watch at the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from tests.service.serving import Server, served
from tests.service.store.redis_server import RedisServer, running
from tests.service.stream.listening import listening
from tests.service.stream.socket import opened, outputs_of, rows_of, stepped


@pytest.fixture(scope="module")
def replicas(
    small: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RedisServer, Server, Server]]:
    with ExitStack() as stack:
        redis = stack.enter_context(running(tmp_path_factory.mktemp("redis")))
        settings = {"NTM_STORE": redis.url, "NTM_SLOTS": "4"}
        first, second = (
            stack.enter_context(served(tmp_path_factory.mktemp("server"), small, **settings))
            for _ in range(2)
        )
        yield redis, first, second


def test_what_one_server_does_is_told_at_the_other_also_after_redis_was_away(
    replicas: tuple[RedisServer, Server, Server],
):
    redis, here, there = replicas
    with here.client() as client, there.client() as other:
        session = client.post("/v1/models/small/sessions", json={}).headers["location"]
        with listening(there.url, session, include="weights") as listener:
            answer = client.post(
                f"{session}/steps", json={"inputs": rows_of(1, 2, 7).tolist(), "trace": True}
            ).json()
            (told,) = listener.take(1)
            assert (told.name, told.data["step"]) == ("stepped", 2)
            last = {t["name"]: t["data"][len(t["data"]) // 2 :] for t in answer["trace"]}
            shown = {view["name"]: view["data"] for view in told.data["weights"]}
            for name, data in shown.items():
                assert np.allclose(data, last[name], atol=1e-5)
            client.post(f"{session}/snapshots", json={"name": "kept"})
            client.post(f"{session}/fork", json={"id": "child-of-replicas"})
            assert [event.name for event in listener.take(2)] == ["snapshotted", "forked"]
            for number in range(4):  # as many as slots: the first one's state has to go
                path = client.post("/v1/models/small/sessions", json={}).headers["location"]
                stepped(client, path, rows_of(number, 1, 7))
            assert listener.take(1)[0].name == "evicted"
            redis.kill()
            redis.start()
            stepped(other, session, rows_of(2, 1, 7))
            stepped(client, session, rows_of(3, 1, 7))
            assert [event.data["step"] for event in listener.take(2)] == [3, 4]
            client.delete(session)
            assert listener.take(1)[0].name == "deleted"


def test_a_stream_that_broke_at_one_server_goes_on_at_the_other(
    replicas: tuple[RedisServer, Server, Server],
):
    _, here, there = replicas
    rows = rows_of(4, 6, 7)
    with here.client() as client:
        session = client.post("/v1/models/small/sessions", json={}).headers["location"]
        with opened(here.url, session) as socket:
            first = socket.step(0, rows[:4])
        with opened(there.url, session) as socket:
            socket.send(2, rows[2:])
            frame = socket.receive()
            assert frame["replayed"] is True and frame["step"] == 6
            assert np.array_equal(outputs_of(frame)[:2], first[2:])
        with opened(here.url, session) as socket:  # whose engine holds an older revision
            assert socket.said["step"] == 6
            assert np.array_equal(socket.step(4, rows[4:]), outputs_of(frame)[2:])
            assert socket.step(6, rows[:1]).shape == (1, 5)
