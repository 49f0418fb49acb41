from typing import Any

import httpx
import numpy as np
import pytest

from tests.service.test_routes_sessions import create, step

RANDOM = np.random.default_rng(7)
PATTERN = RANDOM.integers(0, 2, (6, 8)).astype(float).tolist()
WRITE = [[*row, 0.0] for row in PATTERN] + [[0.0] * 8 + [1.0]]
READ = [[0.0] * 9] * 6


def memory_of(client: httpx.Client, session: str) -> Any:
    return client.get(f"{session}/memory").json()["state"]


def bits(answer: httpx.Response) -> list[list[float]]:
    assert answer.status_code == 200, answer.text
    return np.round(answer.json()["outputs"]).tolist()


def test_a_fork_goes_on_alone_from_where_its_parent_stands(client: httpx.Client, session: str):
    step(client, session, WRITE)
    answer = client.post(f"{session}/fork")
    info = answer.json()
    assert answer.status_code == 201
    assert (info["step"], info["revision"]) == (7, 1)
    assert info["forked_from"] == session.rsplit("/", 1)[1]
    fork = answer.headers["location"]
    assert memory_of(client, fork) == memory_of(client, session)
    assert bits(step(client, fork, READ)) == PATTERN
    assert client.get(session).json()["step"] == 7, "the parent has not moved"
    assert bits(step(client, session, READ)) == PATTERN
    client.delete(session)
    assert client.get(fork).json()["step"] == 13, "a fork outlives its parent"


def test_a_fork_takes_an_id_and_a_ttl_and_refuses_an_id_that_lives(
    client: httpx.Client, session: str
):
    answer = client.post(f"{session}/fork", json={"id": "fork-of-mine", "idle_ttl_s": 50})
    info = answer.json()
    assert info["id"] == "fork-of-mine"
    assert info["expires_at"] == pytest.approx(info["committed_at"] + 50)
    again = client.post(f"{session}/fork", json={"id": "fork-of-mine"})
    assert (again.status_code, again.json()["code"]) == (409, "session_exists")
    client.delete("/v1/sessions/fork-of-mine")


@pytest.mark.parametrize("point", [{"step": 7}, {"revision": 2}, {"snapshot": "written"}])
def test_a_session_goes_back_to_a_kept_point(
    client: httpx.Client, session: str, point: dict[str, Any]
):
    step(client, session, WRITE)
    client.post(f"{session}/snapshots", json={"name": "written"})
    before = memory_of(client, session)
    assert bits(step(client, session, READ)) == PATTERN
    answer = client.post(f"{session}/restore", json=point)
    assert (answer.status_code, answer.json()) == (200, {"step": 7, "revision": 4, "version": "1"})
    assert answer.headers["etag"] == client.get(session).headers["etag"]
    assert memory_of(client, session) == before
    assert bits(step(client, session, READ)) == PATTERN


def test_a_step_within_a_request_is_a_point_too(client: httpx.Client, session: str):
    step(client, session, WRITE)
    assert client.post(f"{session}/restore", json={"step": 3}).json()["step"] == 3
    other = f"/v1/sessions/{create(client)['id']}"
    step(client, other, WRITE[:3])
    assert memory_of(client, session) == memory_of(client, other)
    fork = client.post(f"{session}/fork", json={"step": 5})
    assert fork.json()["step"] == 5
    step(client, other, WRITE[3:5])
    assert memory_of(client, fork.headers["location"]) == memory_of(client, other)


def test_a_rewind_can_itself_be_undone(client: httpx.Client, session: str):
    step(client, session, WRITE)
    written = memory_of(client, session)
    assert client.post(f"{session}/reset").json() == {"step": 0, "revision": 3, "version": "1"}
    fresh = f"/v1/sessions/{create(client)['id']}"
    assert memory_of(client, session) == memory_of(client, fresh)
    assert client.post(f"{session}/restore", json={"revision": 2}).json()["step"] == 7
    assert memory_of(client, session) == written


@pytest.mark.parametrize("point", [{"step": 99}, {"revision": 9}, {"snapshot": "none"}])
def test_a_point_that_is_not_kept_is_refused_and_changes_nothing(
    client: httpx.Client, session: str, point: dict[str, Any]
):
    step(client, session, WRITE)
    for answer in (
        client.post(f"{session}/restore", json=point),
        client.post(f"{session}/fork", json=point),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "point_not_kept")
    assert client.get(session).json()["revision"] == 2


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("restore", {}),
        ("restore", {"step": 1, "revision": 2}),
        ("restore", {"step": -1}),
        ("restore", {"step": 1.5}),
        ("restore", {"snapshot": 7}),
        ("fork", {"step": 1, "snapshot": "a"}),
        ("fork", {"id": "../etc"}),
        ("fork", {"idle_ttl_s": -1}),
        ("snapshots", {"name": "a b"}),
        ("snapshots", {"name": ""}),
        ("fork", {"id": ""}),
        ("snapshots", {"nam": "a"}),
        ("reset", {"hard": True}),
        ("migrate", {}),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(
    client: httpx.Client, session: str, path: str, body: dict[str, Any]
):
    step(client, session, WRITE)
    answer = client.post(f"{session}/{path}", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "expected" in answer.json()["detail"]
    assert client.get(session).json()["revision"] == 2


def test_a_snapshot_keeps_its_name_its_point_and_nothing_else_moves(
    client: httpx.Client, session: str
):
    step(client, session, WRITE)
    tag = client.get(session).headers["etag"]
    answer = client.post(f"{session}/snapshots", json={"name": "one"})
    assert answer.status_code == 201
    assert client.get(session).headers["etag"] == tag
    again = client.post(f"{session}/snapshots", json={"name": "one"})
    assert (again.status_code, again.json()["code"]) == (409, "snapshot_exists")
    step(client, session, READ)
    drawn = client.post(f"{session}/snapshots").json()
    listed = client.get(f"{session}/snapshots").json()["snapshots"]
    assert [kept["name"] for kept in listed] == ["one", drawn["name"]]
    assert [kept["step"] for kept in listed] == [7, 13]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("reset", {}, 200),
        ("restore", {"step": 7}, 200),
        ("migrate", {"version": "1"}, 200),
        ("fork", {}, 201),
        ("snapshots", {}, 201),
    ],
)
def test_a_repeat_with_its_key_gets_the_first_answer_and_changes_nothing_more(
    client: httpx.Client, session: str, path: str, body: dict[str, Any], status: int
):
    step(client, session, WRITE)
    headers = {"idempotency-key": f"again-{path}"}
    first = client.post(f"{session}/{path}", json=body, headers=headers)
    assert first.status_code == status, first.text
    step(client, session, READ)
    before = client.get(session).json()
    second = client.post(f"{session}/{path}", json=body, headers=headers)
    assert (second.status_code, _lasting(second)) == (status, _lasting(first))
    assert client.get(session).json()["revision"] == before["revision"]
    others = {"snapshots": {"name": "x"}, "fork": {"idle_ttl_s": 9}, "migrate": {"version": "2"}}
    other = others.get(path, {"step": 1})
    if path != "reset":
        reused = client.post(f"{session}/{path}", json=other, headers=headers)
        assert (reused.status_code, reused.json()["code"]) == (422, "key_reused")


def _lasting(answer: httpx.Response) -> dict[str, Any]:
    return {name: value for name, value in answer.json().items() if name != "tier"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("reset", {}),
        ("restore", {"step": 7}),
        ("migrate", {"version": "1"}),
        ("fork", {}),
        ("snapshots", {}),
    ],
)
def test_an_if_match_that_does_not_hold_changes_nothing(
    client: httpx.Client, session: str, path: str, body: dict[str, Any]
):
    old = client.get(session).headers["etag"]
    step(client, session, WRITE)
    answer = client.post(f"{session}/{path}", json=body, headers={"if-match": old})
    assert (answer.status_code, answer.json()["code"]) == (412, "revision_mismatch")
    assert client.get(session).json()["revision"] == 2
    assert client.get(f"{session}/snapshots").json() == {"snapshots": []}


def test_a_session_moves_to_another_version_of_its_model_and_keeps_its_state(
    client: httpx.Client,
):
    session = f"/v1/sessions/{create(client, 'small', version='1')['id']}"
    step(client, session, [[0.5] * 7])
    before = memory_of(client, session)
    answer = client.post(f"{session}/migrate", json={"version": "2"})
    assert answer.json() == {"step": 1, "revision": 3, "version": "2"}
    assert client.get(session).json()["version"] == "2"
    assert memory_of(client, session) == before
    missing = client.post(f"{session}/migrate", json={"version": "9"})
    assert (missing.status_code, missing.json()["code"]) == (404, "model_not_found")


def test_a_repeat_of_a_creation_tells_the_same_after_the_session_has_gone_on(
    client: httpx.Client,
):
    def ask() -> httpx.Response:
        headers = {"idempotency-key": "a-creation-told-twice"}
        return client.post("/v1/models/small/sessions", json={"version": "1"}, headers=headers)

    first = ask()
    session = first.headers["location"]
    assert client.post(f"{session}/migrate", json={"version": "2"}).status_code == 200
    assert step(client, session, [[0.5] * 7] * 2).json()["revision"] == 3
    again = ask()
    assert (again.status_code, again.headers["etag"]) == (201, first.headers["etag"])
    # Where its state is by now is no part of what it began as.
    assert again.json() | {"tier": ""} == first.json() | {"tier": ""}
