import concurrent.futures
import re
from typing import Any

import httpx
import numpy as np
import pytest

from tests.service.serving import ROW

ROWS = np.random.default_rng(1).integers(0, 2, (5, 9)).astype(float).tolist()


def create(client: httpx.Client, model: str = "copy", **body: Any) -> dict[str, Any]:
    answer = client.post(f"/v1/models/{model}/sessions", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def step(client: httpx.Client, session: str, rows: Any, **headers: str) -> httpx.Response:
    return client.post(f"{session}/steps", json={"inputs": rows}, headers=headers)


def test_a_session_is_created_with_all_that_a_client_needs(client: httpx.Client):
    answer = client.post("/v1/models/copy/sessions", json={})
    info = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/sessions/{info['id']}"
    assert answer.headers["etag"] == f'"{info["incarnation"]}-1"'
    assert answer.headers["content-type"] == "application/json"
    assert (info["model"], info["version"], info["step"], info["revision"]) == ("copy", "1", 0, 1)
    assert info["expires_at"] == pytest.approx(info["committed_at"] + 86400)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"id": null}'])
def test_a_session_may_be_created_without_a_body(client: httpx.Client, content: bytes):
    answer = client.post("/v1/models/copy/sessions", content=content)
    assert answer.status_code == 201
    assert re.fullmatch(r"[a-z0-9]{24}", answer.json()["id"])


def test_a_session_takes_the_id_the_version_and_the_ttl_it_is_given(client: httpx.Client):
    info = create(client, "small", id="my.session_1", version="1", idle_ttl_s=12.5)
    assert (info["id"], info["version"]) == ("my.session_1", "1")
    assert info["expires_at"] == pytest.approx(info["committed_at"] + 12.5)
    again = client.post("/v1/models/small/sessions", json={"id": "my.session_1"})
    assert (again.status_code, again.json()["code"]) == (409, "session_exists")
    assert client.delete("/v1/sessions/my.session_1").status_code == 204


def test_without_a_version_the_newest_is_taken(client: httpx.Client):
    assert create(client, "small")["version"] == "2"


def test_a_step_answers_one_row_of_outputs_for_each_row(client: httpx.Client, session: str):
    answer = step(client, session, ROWS)
    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {"outputs", "step", "revision"}
    assert (body["step"], body["revision"]) == (5, 2)
    assert np.array(body["outputs"]).shape == (5, 8)
    assert answer.headers["etag"] == client.get(session).headers["etag"]


def test_rows_one_by_one_give_what_all_at_once_give(client: httpx.Client, session: str):
    together = step(client, session, ROWS).json()["outputs"]
    other = f"/v1/sessions/{create(client)['id']}"
    apart = [step(client, other, [row]).json()["outputs"][0] for row in ROWS]
    assert apart == together
    stands = client.get(other).json()
    assert (stands["step"], stands["revision"]) == (5, 6)


def test_outputs_read_back_as_the_same_float32(client: httpx.Client, session: str):
    outputs = np.array(step(client, session, ROWS).json()["outputs"])
    assert (outputs.astype(np.float32).astype(float) == outputs).all()
    assert ((outputs > 0) & (outputs < 1)).all()


def test_a_trace_has_the_weights_of_each_row(client: httpx.Client, session: str):
    answer = client.post(f"{session}/steps", json={"inputs": ROWS, "trace": True})
    weights = {tensor["role"]: tensor for tensor in answer.json()["trace"]}
    for role in ("read_weights", "write_weights"):
        dims = weights[role]["dims"]
        assert dims[0] == 5 and dims[-1] == 128
        array = np.array(weights[role]["data"]).reshape(dims)
        assert array.sum(-1) == pytest.approx(np.ones(dims[:-1]), abs=1e-5)


def test_the_memory_is_the_committed_state_by_name_role_and_dims(
    client: httpx.Client, session: str
):
    before = client.get(f"{session}/memory").json()
    etag = step(client, session, ROWS).headers["etag"]
    answer = client.get(f"{session}/memory")
    after = answer.json()
    assert (after["step"], after["revision"], answer.headers["etag"]) == (5, 2, etag)
    spec = {tensor["name"]: tensor for tensor in client.get("/v1/models/copy").json()["state"]}
    assert [tensor["name"] for tensor in after["state"]] == list(spec)
    for tensor in after["state"]:
        assert tensor["dims"] == spec[tensor["name"]]["dims"]
        assert tensor["role"] == spec[tensor["name"]]["role"]
        assert len(tensor["data"]) == np.prod(tensor["dims"])
    assert after["state"][0]["dims"] == [128, 20]
    assert after["state"][0]["data"] != before["state"][0]["data"]


def test_a_session_begins_with_the_state_it_is_given(client: httpx.Client, session: str):
    memory = np.random.default_rng(2).normal(size=(128, 20)).astype(np.float32).astype(float)
    made = create(client, state={"memory": memory.tolist()})
    flat = create(client, state={"memory": memory.ravel().tolist()})
    for info in (made, flat):
        state = client.get(f"/v1/sessions/{info['id']}/memory").json()["state"]
        assert state[0]["data"] == memory.ravel().tolist()
    outputs = step(client, f"/v1/sessions/{made['id']}", ROWS).json()["outputs"]
    assert outputs == step(client, f"/v1/sessions/{flat['id']}", ROWS).json()["outputs"]
    assert outputs != step(client, session, ROWS).json()["outputs"]


def test_a_deleted_session_is_gone(client: httpx.Client, session: str):
    answer = client.delete(session)
    assert (answer.status_code, answer.content) == (204, b"")
    for again in (client.get(session), client.delete(session), step(client, session, [ROW])):
        assert (again.status_code, again.json()["code"]) == (404, "session_not_found")


def test_if_match_lets_a_step_through_only_at_its_revision(client: httpx.Client, session: str):
    first = step(client, session, [ROW], **{"if-match": client.get(session).headers["etag"]})
    assert first.status_code == 200
    stale = step(client, session, [ROW], **{"if-match": '"other-2"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "revision_mismatch")
    assert client.get(session).json()["step"] == 1
    weak = step(client, session, [ROW], **{"if-match": f"W/{first.headers['etag']}"})
    assert weak.status_code == 412
    assert step(client, session, [ROW], **{"if-match": first.headers["etag"]}).json()["step"] == 2
    assert step(client, session, [ROW], **{"if-match": "*"}).json()["step"] == 3


def test_if_match_holds_for_a_delete_too(client: httpx.Client, session: str):
    assert client.delete(session, headers={"if-match": '"other-1"'}).status_code == 412
    etag = client.get(session).headers["etag"]
    assert client.delete(session, headers={"if-match": etag}).status_code == 204


def test_a_repeat_of_a_key_gets_the_first_answer_and_steps_no_more(
    client: httpx.Client, session: str
):
    first = step(client, session, ROWS, **{"idempotency-key": "k1"})
    repeat = step(client, session, ROWS, **{"idempotency-key": "k1"})
    assert repeat.json() == first.json()
    assert repeat.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert client.get(session).json()["step"] == 5


def test_a_key_with_other_rows_is_refused(client: httpx.Client, session: str):
    step(client, session, ROWS, **{"idempotency-key": "k1"})
    other = step(client, session, ROWS[:3], **{"idempotency-key": "k1"})
    assert (other.status_code, other.json()["code"]) == (422, "key_reused")
    assert client.get(session).json()["step"] == 5


def test_rows_written_another_way_are_the_same_rows_to_a_key(client: httpx.Client, session: str):
    bodies = (b'{"inputs": [[1,0,1,0,1,0,1,0,1]]}', b'{"inputs":[[1.0,0,1e0,0,1,0,1,-0.0e1,1]]}')
    same = b'{ "trace":false, "inputs":[[1.0,0.0,1e0,0,10e-1,0,1,0,1]]}'
    headers = {"idempotency-key": "k1"}
    answers = [
        client.post(f"{session}/steps", content=body, headers=headers)
        for body in (bodies[0], same, bodies[1])
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 422]  # -0.0 is other bytes


def test_sessions_are_listed_page_by_page_in_order_of_id(client: httpx.Client):
    names = sorted(f"listed-{at}" for at in (3, 1, 7, 5, 2))
    for name in reversed(names):
        create(client, "small", id=name)
    found: list[str] = []
    query: dict[str, Any] = {"limit": 2, "model": "small"}
    while True:
        page = client.get("/v1/sessions", params=query).json()
        assert len(page["sessions"]) <= 2
        assert {info["model"] for info in page["sessions"]} <= {"small"}
        found += [info["id"] for info in page["sessions"]]
        if page["cursor"] is None:
            break
        query["cursor"] = page["cursor"]
    assert found == sorted(found)
    assert [name for name in found if name.startswith("listed-")] == names


def test_sessions_stepped_at_the_same_time_answer_as_each_would_alone(client: httpx.Client):
    sessions = [f"/v1/sessions/{create(client)['id']}" for _ in range(7)]
    rows = np.random.default_rng(3).integers(0, 2, (7, 4, 9)).astype(float).tolist()
    alone = [f"/v1/sessions/{create(client)['id']}" for _ in range(7)]
    wanted = [
        [step(client, path, [row]).json()["outputs"] for row in mine]
        for path, mine in zip(alone, rows, strict=True)
    ]

    def run(at: int) -> list[Any]:
        return [step(client, sessions[at], [row]).json()["outputs"] for row in rows[at]]

    with concurrent.futures.ThreadPoolExecutor(7) as pool:
        assert list(pool.map(run, range(7))) == wanted
