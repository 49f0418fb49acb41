"""Events on the real server: told when committed, told again after a pause, told to their end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.service.serving import Server, served, until
from tests.service.stream.listening import listening
from tests.service.stream.socket import opened, rows_of, stepped


def create(client: httpx.Client, model: str = "copy", **body: object) -> str:
    return client.post(f"/v1/models/{model}/sessions", json=body).headers["location"]


def test_everything_that_is_done_to_a_session_is_told_in_order(
    server: Server, client: httpx.Client
):
    session = create(client, "small")
    incarnation = client.get(session).json()["incarnation"]
    rows = rows_of(1, 3, 7)
    with listening(server.url, session) as listener:
        assert listener.begun == f"{incarnation}-1"
        stepped(client, session, rows)
        assert [told.name for told in listener.take(1)] == ["stepped"]
        client.post(f"{session}/snapshots", json={"name": "kept"})
        fork = client.post(f"{session}/fork", json={}).json()["id"]
        notices = listener.take(2)
        assert [(told.name, told.data, told.id) for told in notices] == [
            ("snapshotted", {"revision": 2, "name": "kept"}, None),
            ("forked", {"revision": 2, "id": fork}, None),
        ]
        client.post(f"{session}/restore", json={"snapshot": "kept"})
        client.post(f"{session}/reset")
        client.post(f"{session}/migrate", json={"version": "2"})
        state = client.get(f"{session}/state").content
        kind = {"content-type": "application/vnd.safetensors"}
        assert client.put(f"{session}/state", content=state, headers=kind).status_code == 200
        moves = listener.take(4)
        assert [told.name for told in moves] == ["restored", "reset", "migrated", "imported"]
        assert [told.id for told in moves] == [f"{incarnation}-{at}" for at in (3, 4, 5, 6)]
        assert [told.data["step"] for told in moves] == [3, 0, 0, 0]
        client.delete(session)
        assert listener.take(1)[0].name == "deleted"
        assert listener.next() is None


def test_a_step_is_told_with_weights_usage_and_rows_where_asked(
    server: Server, client: httpx.Client, session: str
):
    rows = rows_of(2, 4)
    with listening(server.url, session, include="weights,usage,rows") as listener:
        body = {"inputs": rows.tolist(), "trace": True}
        answer = client.post(f"{session}/steps", json=body).json()
        (told,) = listener.take(1)
    assert told.data["inputs"] == rows.tolist() and told.data["outputs"] == answer["outputs"]
    assert told.data["usage"] == []  # this network keeps none
    last = {
        t["name"]: np.reshape(t["data"], t["dims"])[-1].ravel().tolist() for t in answer["trace"]
    }
    assert {view["name"]: view["data"] for view in told.data["weights"]} == last


def test_after_a_pause_one_goes_on_where_the_last_event_id_says(
    server: Server, client: httpx.Client, session: str
):
    with listening(server.url, session) as listener:
        stepped(client, session, rows_of(1, 1))
        (first,) = listener.take(1)
    for seed in (2, 3):
        stepped(client, session, rows_of(seed, 2))
    client.post(f"{session}/reset")
    with listening(server.url, session, first.id) as listener:
        assert listener.begun == first.id
        told = listener.take(3)
        assert [event.name for event in told] == ["stepped", "stepped", "reset"]
        assert [event.data["revision"] for event in told] == [3, 4, 5]
        stepped(client, session, rows_of(4, 1))
        assert listener.take(1)[0].data == {"step": 1, "revision": 6, "rows": 1}


def test_rows_over_a_websocket_are_told_as_any(server: Server, client: httpx.Client, session: str):
    with listening(server.url, session) as listener, opened(server.url, session) as socket:
        for at in range(4):
            socket.step(at, rows_of(at, 1))
        assert [told.data["step"] for told in listener.take(4)] == [1, 2, 3, 4]


def test_an_expiry_is_told_and_ends_the_stream(server: Server, client: httpx.Client):
    session = create(client, idle_ttl_s=1.0)
    with listening(server.url, session) as listener:
        assert listener.take(1)[0].name == "expired"
        assert listener.next() is None
    answer = client.get(f"{session}/events", headers={"last-event-id": listener.begun})
    assert (answer.status_code, answer.json()["code"]) == (410, "session_expired")


@pytest.mark.parametrize(
    ("last", "query", "status", "code"),
    [
        ("nonsense", "", 400, "invalid_request"),
        ("0000-1", "", 404, "session_not_found"),
        (None, "include=memory", 400, "invalid_request"),
    ],
)
def test_a_stream_that_cannot_begin_is_refused_with_problem_details(
    client: httpx.Client, session: str, last: str | None, query: str, status: int, code: str
):
    headers = {} if last is None else {"last-event-id": last}
    answer = client.get(f"{session}/events?{query}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    missing = client.get("/v1/sessions/nobody/events")
    assert (missing.status_code, missing.json()["code"]) == (404, "session_not_found")


def test_a_revision_that_never_was_is_reported(client: httpx.Client, session: str):
    incarnation = client.get(session).json()["incarnation"]
    answer = client.get(f"{session}/events", headers={"last-event-id": f"{incarnation}-9"})
    assert (answer.status_code, answer.json()["code"]) == (503, "store_rolled_back")


def test_events_go_on_over_an_engine_that_dies_to_every_front_until_the_server_stops(
    tmp_path: Path, small: Path
):
    settings = {"NTM_STORE": f"sqlite://{tmp_path}/sessions.db", "NTM_FRONTS": "2"}
    with served(tmp_path, small, **settings) as server, server.client() as client:
        session = create(client, "small")
        listeners = [listening(server.url, session) for _ in range(4)]
        opened_all = [listener.__enter__() for listener in listeners]
        stepped(client, session, rows_of(1, 1, 7))
        assert all(listener.take(1)[0].data["step"] == 1 for listener in opened_all)
        for pid in server.children("engine.process"):
            os.kill(pid, signal.SIGKILL)
        until(
            lambda: client.post(f"{session}/steps", json={"inputs": [[0] * 7]}).status_code == 200
        )
        assert all(listener.take(1)[0].data["step"] == 2 for listener in opened_all)
        until(lambda: 'ntm_streams{front="0",kind="events"}' in client.get("/metrics").text)
        assert server.stop() == 0
        assert all(listener.next() is None for listener in opened_all)
        for listener in listeners:
            listener.__exit__(None, None, None)
        assert "Traceback" not in server.text()


def test_one_whose_history_is_gone_is_told_what_he_missed(tmp_path: Path, small: Path):
    settings = {"NTM_HISTORY_ROWS": "8", "NTM_KEPT_REPLIES": "1", "NTM_CHECKPOINT_ROWS": "8"}
    with served(tmp_path, small, **settings) as server, server.client() as client:
        session = create(client, "small")
        incarnation = client.get(session).json()["incarnation"]
        for seed in range(80):
            stepped(client, session, rows_of(seed, 8, 7))
        with listening(server.url, session, f"{incarnation}-1") as listener:
            missed, after = listener.take(2)
        assert (missed.name, missed.data["from"]) == ("missed", 2)
        assert (after.name, after.data["revision"]) == ("stepped", missed.data["to"] + 1)
