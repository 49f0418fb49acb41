"""Rows over a WebSocket, on the real server by a real client: as POST .../steps, exactly once."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.service.serving import Server, alive, served, until
from tests.service.stream.socket import Socket, opened, outputs_of, rows_of, stepped


def create(client: httpx.Client, model: str = "copy", **body: Any) -> str:
    created = client.post(f"/v1/models/{model}/sessions", json=body)
    assert created.status_code == 201, created.text
    return created.headers["location"]


def test_the_first_frame_says_where_the_session_stands(
    server: Server, client: httpx.Client, session: str
):
    stepped(client, session, rows_of(1, 3))
    with opened(server.url, session) as socket:
        assert socket.said == client.get(session).json()
    with opened(
        server.url, session, additional_headers={"Accept": "application/msgpack"}
    ) as packed:
        assert isinstance(packed.said, dict) and packed.said["step"] == 3


def test_many_rows_in_flight_are_answered_in_order_as_over_http(
    server: Server, client: httpx.Client, session: str
):
    rows, other = rows_of(2, 40), create(client)
    wanted = np.concatenate([stepped(client, other, row[None]) for row in rows])
    with opened(server.url, session) as socket:
        for at in range(0, 40, 2):
            send = socket.send if at % 4 else socket.send_packed
            send(at, rows[at : at + 2])
        frames = [socket.receive() for _ in range(20)]
    assert [frame["at"] for frame in frames] == list(range(0, 40, 2))
    assert [frame["step"] for frame in frames] == list(range(2, 42, 2))
    assert np.array_equal(np.concatenate([outputs_of(frame) for frame in frames]), wanted)
    assert {type(frame["outputs"]) for frame in frames} == {list, dict}
    assert client.get(session).json()["step"] == 40
    assert stepped(client, session, rows[:1]).shape == (1, 8)  # and goes on over HTTP


def test_a_trace_comes_with_its_frame_alone(server: Server, client: httpx.Client, session: str):
    rows, other = rows_of(3, 4), create(client)
    body = {"inputs": rows[1:3].tolist(), "trace": True}
    stepped(client, other, rows[:1])
    wanted = client.post(f"{other}/steps", json=body).json()["trace"]
    with opened(server.url, session) as socket:
        socket.send(0, rows[:1])
        socket.send(1, rows[1:3], trace=True)
        socket.send(3, rows[3:])
        frames = [socket.receive() for _ in range(3)]
    assert [frame.get("trace") for frame in frames] == [None, wanted, None]


def test_after_a_reconnect_rows_are_answered_as_they_were_and_not_stepped_again(
    server: Server, client: httpx.Client, session: str
):
    rows = rows_of(4, 12)
    with opened(server.url, session) as socket:
        first = np.concatenate([socket.step(at, rows[at : at + 1]) for at in range(8)])
    with opened(server.url, session) as socket:
        socket.send(5, rows[5:7])  # all of it is known
        socket.send(7, rows[7:10])  # one row of it is
        socket.send(10, rows[10:])  # nothing of it is
        frames = [socket.receive() for _ in range(3)]
        assert [frame.get("replayed", False) for frame in frames] == [True, True, False]
        assert np.array_equal(outputs_of(frames[0]), first[5:7])
        assert np.array_equal(outputs_of(frames[1])[:1], first[7:])
        assert [frame["step"] for frame in frames] == [7, 10, 12]
    other = create(client)
    wanted = stepped(client, other, rows)
    again = np.concatenate([first[:7], *(outputs_of(frame) for frame in frames[1:])])
    assert np.array_equal(again, wanted)
    told = [
        np.float32(client.get(f"{path}/memory").json()["state"][0]["data"])
        for path in (session, other)
    ]
    assert np.array_equal(told[0], told[1])


@pytest.mark.parametrize(
    ("at", "rows", "code"),
    [
        (7, rows_of(5, 1), "step_gap"),
        (2, rows_of(99, 2), "rows_differ"),
        (5, rows_of(5, 1, 8), "wrong_shape"),
    ],
)
def test_rows_that_do_not_fit_get_a_named_error_and_change_nothing(
    server: Server, client: httpx.Client, session: str, at: int, rows: Any, code: str
):
    known = rows_of(5, 5)
    with opened(server.url, session) as socket:
        wanted = socket.step(0, known)
        socket.send(at, rows)
        problem = socket.receive()
        assert (problem["code"], problem["at"]) == (code, at)
        assert problem["type"].endswith(code) and problem["request_id"]
        assert client.get(session).json()["step"] == 5
        assert np.array_equal(socket.step(0, known), wanted)
        assert socket.step(5, known[:1]).shape == (1, 8)


def test_one_bad_frame_among_many_costs_only_those_behind_it(
    server: Server, client: httpx.Client, session: str
):
    rows = rows_of(6, 6)
    with opened(server.url, session) as socket:
        socket.send(0, rows[:2])
        socket.connection.send('{"at": 2, "inputs": [[null]]}')
        socket.send(2, rows[2:4])
        socket.connection.send(b"\xc1")
        socket.send(9, rows[4:])
        frames = [socket.receive() for _ in range(5)]
    assert [frame.get("code") for frame in frames] == [
        None, "invalid_request", None, "invalid_msgpack", "step_gap",
    ]  # fmt: skip
    assert client.get(session).json()["step"] == 4


def test_rows_from_before_a_reset_are_not_answered_and_new_ones_run(
    server: Server, client: httpx.Client, session: str
):
    rows = rows_of(7, 4)
    with opened(server.url, session) as socket:
        wanted = socket.step(0, rows)
        client.post(f"{session}/reset")
        socket.send(4, rows)
        assert socket.receive()["code"] == "step_gap"
        assert np.array_equal(socket.step(0, rows), wanted)
        client.post(f"{session}/restore", json={"step": 3})
        socket.send(2, rows[:2])
        assert socket.receive()["code"] == "point_not_kept"


def test_others_may_step_the_same_session_in_between(
    server: Server, client: httpx.Client, session: str
):
    rows = rows_of(8, 6)
    wanted = stepped(client, create(client), rows)
    with opened(server.url, session) as socket:
        first = socket.step(0, rows[:2])
        between = stepped(client, session, rows[2:4])
        socket.send(2, rows[2:])
        frame = socket.receive()
    assert frame["replayed"] is True
    assert np.array_equal(outputs_of(frame)[:2], between)
    assert np.array_equal(np.concatenate([first, outputs_of(frame)]), wanted)


def test_a_session_that_ends_closes_its_stream_saying_why(
    server: Server, client: httpx.Client, session: str
):
    with opened(server.url, session) as socket:
        client.delete(session)
        socket.send(0, rows_of(1, 1))
        assert socket.receive()["code"] == "session_not_found"
        with pytest.raises(ConnectionClosed) as closed:
            socket.receive()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4404, "session_not_found")


def test_a_session_begun_anew_under_the_same_id_is_not_the_streams(
    server: Server, client: httpx.Client
):
    session = create(client, id="again")
    with opened(server.url, session) as socket:
        client.delete(session)
        create(client, id="again")
        socket.send(0, rows_of(1, 1))
        assert socket.receive()["code"] == "session_not_found"
    assert client.get(session).json()["step"] == 0


@pytest.mark.parametrize("path", ["/v1/sessions/nobody", "/v1/sessions/no~/"])
def test_a_handshake_that_cannot_be_is_refused_with_problem_details(server: Server, path: str):
    with pytest.raises(InvalidStatus) as refused, opened(server.url, path.rstrip("/")):
        pass
    response = refused.value.response
    assert (response.status_code, response.headers["content-type"]) == (
        404,
        "application/problem+json",
    )
    assert b'"session_not_found"' in bytes(response.body or b"")
    assert response.headers["x-request-id"].encode() in bytes(response.body or b"")


def test_a_plain_request_is_told_to_upgrade(client: httpx.Client, session: str):
    answer = client.get(f"{session}/stream")
    assert (answer.status_code, answer.json()["code"]) == (426, "upgrade_required")
    assert answer.headers["upgrade"] == "websocket"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/nothing"])
def test_a_websocket_where_there_is_none_is_refused(server: Server, path: str):
    from websockets.sync.client import connect

    with pytest.raises(InvalidStatus), connect(server.url.replace("http", "ws", 1) + path):
        pass


def test_limits_of_streams_frames_and_rows_hold(tmp_path: Path, small: Path):
    settings = {
        "NTM_MAX_STREAMS": "1",
        "NTM_MAX_BODY_BYTES": "2048",
        "NTM_STREAM_ROWS": "3",
        "NTM_MAX_ROWS": "8",
    }
    with served(tmp_path, small, **settings) as server, server.client() as client:
        session, rows = create(client, "small"), rows_of(1, 60, 7)
        with opened(server.url, session) as socket:
            refused = client.get(f"{session}/events")
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
            with pytest.raises(InvalidStatus), opened(server.url, session):
                pass
            assert 'ntm_streams{front="0",kind="websocket"} 1.0' in client.get("/metrics").text
            socket.send(0, rows[:9])
            assert socket.receive()["code"] == "too_many_rows"
            for at in range(60):  # many more than may wait: reading pauses, and goes on
                socket.send(at, rows[at : at + 1])
            assert [socket.receive()["step"] for _ in range(60)] == list(range(1, 61))
            socket.send(60, rows[:8])  # more than may wait, alone
            assert socket.receive()["step"] == 68
            socket.connection.send("x" * 3000)
            with pytest.raises(ConnectionClosed) as closed:
                socket.receive()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009
        until(lambda: 'ntm_streams{front="0",kind="websocket"} 0.0' in client.get("/metrics").text)
        with opened(server.url, session):
            pass


def test_a_stop_finishes_what_was_sent_and_says_that_it_restarts(tmp_path: Path, small: Path):
    store = f"sqlite://{tmp_path}/sessions.db"
    with served(tmp_path, small, NTM_STORE=store) as server, server.client() as client:
        session, rows = create(client, "small"), rows_of(1, 5, 7)
        with opened(server.url, session) as socket:
            first = socket.step(0, rows)
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                socket.receive()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012
        assert server.process.wait(30) == 0
        assert "Traceback" not in server.text() and "ERROR" not in server.text()
    with served(tmp_path, small, NTM_STORE=store) as server, opened(server.url, session) as socket:
        assert np.array_equal(socket.step(0, rows), first)
        assert socket.said["step"] == 5


@pytest.mark.parametrize("module", ["engine.process", "service.front"])
def test_a_killed_process_costs_no_row_and_doubles_none(tmp_path: Path, small: Path, module: str):
    """The client sends on, is cut off or refused, comes again, and repeats what it was not told."""
    rows = rows_of(9, 120, 7)
    store = f"sqlite://{tmp_path}/sessions.db"
    with served(tmp_path, small, NTM_STORE=store) as server, server.client() as client:
        session = create(client, "small")
        got: list[Any] = []
        for kill_at in (30, 70, 200):
            until(lambda at=kill_at: _go_on(server, session, rows, got, at))
            for pid in server.children(module) if kill_at < 120 else ():
                os.kill(pid, signal.SIGKILL)
                until(lambda pid=pid: not alive(pid))
        assert len(got) == 120
        other = create(client, "small")
        assert np.array_equal(np.stack(got), stepped(client, other, rows))
        info = client.get(session).json()
        assert info["step"] == 120


def _go_on(server: Server, session: str, rows: Any, got: list[Any], most: int) -> bool:
    """Stream the rows not answered yet, up to about `most`. Returns whether that was done."""
    try:
        with opened(server.url, session) as socket:
            sent = len(got)
            while len(got) < min(most, len(rows)):
                while sent < min(len(rows), len(got) + 16):
                    socket.send(sent, rows[sent : sent + 1])
                    sent += 1
                if not _take(socket, got):
                    return False
    except (OSError, ConnectionClosed, InvalidStatus):
        return False
    return True


def _take(socket: Socket, got: list[Any]) -> bool:
    frame = socket.receive()
    if "code" in frame:  # to be asked again, as are those behind it
        assert frame["status"] in (409, 429, 503, 504), frame
        return False
    assert frame["at"] == len(got)
    got.append(outputs_of(frame)[0])
    return True


def test_if_match_takes_the_step_too_over_http(client: httpx.Client, session: str):
    incarnation = client.get(session).json()["incarnation"]
    body = {"inputs": rows_of(1, 2).tolist()}

    def status(tag: str, what: str = "steps", **fields: Any) -> int:
        head = {"if-match": f'"{incarnation}@{tag}"'}
        return client.post(f"{session}/{what}", headers=head, **fields).status_code

    assert [status(at, json=body) for at in ("0", "0", "2", "3")] == [200, 412, 200, 412]
    assert [status(at, "reset") for at in ("2", "4", "0")] == [412, 200, 200]
    head = {"if-match": '"00000000@0"'}
    refused = client.post(f"{session}/steps", headers=head, json=body)
    assert refused.status_code == 412
    assert refused.json()["got"] == f"{incarnation}-{refused.json()['revision']}"
