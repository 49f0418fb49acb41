"""/trace and /explain over a real server, against what the same session answered and holds."""

from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from tests.service.test_routes_mutations import PATTERN, READ, WRITE, bits, memory_of
from tests.service.test_routes_sessions import create, step

CLOSE = 1e-4  # the traced step's state after so few rows of its own


def trace(client: httpx.Client, session: str, **query: Any) -> dict[str, Any]:
    answer = client.get(f"{session}/trace", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def explained(client: httpx.Client, session: str, **query: Any) -> dict[str, Any]:
    answer = client.get(f"{session}/explain", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def arrays(found: dict[str, Any]) -> dict[str, Any]:
    tensors = [*found["state"], *found["trace"], found["inputs"], found["outputs"]]
    return {t["name"]: np.array(t["data"]).reshape(t["dims"]) for t in tensors}


def steps_of(found: dict[str, Any]) -> list[int]:
    return list(range(found["step"], found["step"] + len(found["revisions"])))


def refused(client: httpx.Client, path: str, **query: Any) -> tuple[int, str]:
    answer = client.get(path, params=query)
    return answer.status_code, answer.json()["code"]


def test_a_trace_tells_rows_outputs_and_the_state_that_the_session_holds(
    client: httpx.Client, session: str
):
    sent = step(client, session, WRITE).json()["outputs"]
    found = trace(client, session)
    told = arrays(found)
    assert (found["step"], found["revisions"], found["version"]) == (1, [2] * 7, "1")
    assert told["inputs"].tolist() == WRITE
    assert told["outputs"] == pytest.approx(np.array(sent), abs=CLOSE)
    for tensor in memory_of(client, session):
        held = np.array(tensor["data"]).reshape(tensor["dims"])
        assert told[tensor["name"]].shape == (8, *tensor["dims"])
        assert told[tensor["name"]][-1] == pytest.approx(held, abs=CLOSE)


def test_a_trace_begins_with_the_state_before_its_first_row(client: httpx.Client, session: str):
    fresh = {t["name"]: t["data"] for t in memory_of(client, session)}
    step(client, session, WRITE)
    told = arrays(trace(client, session, roles="memory"))
    assert told["memory"][0].ravel().tolist() == fresh["memory"]
    later = arrays(trace(client, session, rows=3, roles="memory"))
    assert later["memory"] == pytest.approx(told["memory"][-4:], abs=CLOSE)


def test_a_trace_has_what_the_manifest_says_the_heads_emit(client: httpx.Client, session: str):
    step(client, session, WRITE)
    manifest = client.get("/v1/models/copy").json()
    found = trace(client, session)
    assert [(t["name"], t["role"], t["dims"]) for t in found["trace"]] == [
        (t["name"], t["role"], [7, *t["dims"]]) for t in manifest["trace"]
    ]


def test_what_a_head_erased_and_added_is_what_became_of_the_memory(
    client: httpx.Client, session: str
):
    step(client, session, WRITE)
    told = arrays(trace(client, session))
    weights = told["write_weights"][1:, 0][:, :, None]  # (T, N, 1)
    erase, add = told["write_erase"], told["write_add"]  # (T, 1, M)
    after = told["memory"][:-1] * (1 - weights * erase) + weights * add
    assert after == pytest.approx(told["memory"][1:], abs=1e-5)


@pytest.mark.parametrize(("last", "rows", "want"), [(7, 3, [5, 6, 7]), (4, 2, [3, 4]), (1, 5, [1])])
def test_a_trace_ends_within_a_record_and_goes_back_so_many_rows(
    client: httpx.Client, session: str, last: int, rows: int, want: list[int]
):
    step(client, session, WRITE)
    whole = arrays(trace(client, session))
    found = trace(client, session, revision=2, step=last, rows=rows)
    assert steps_of(found) == want
    part = arrays(found)
    assert part["inputs"].tolist() == WRITE[want[0] - 1 : want[-1]]
    assert part["read_key"] == pytest.approx(whole["read_key"][want[0] - 1 : want[-1]], abs=CLOSE)


def test_a_trace_goes_over_several_records(client: httpx.Client, session: str):
    for row in WRITE:
        step(client, session, [row])
    step(client, session, READ[:3])
    found = trace(client, session, rows=6)
    assert (steps_of(found), found["revisions"]) == ([5, 6, 7, 8, 9, 10], [6, 7, 8, 9, 9, 9])


def test_a_trace_ends_where_a_session_went_back_and_tells_what_was_left_too(
    client: httpx.Client, session: str
):
    step(client, session, WRITE)
    step(client, session, READ[:2])
    client.post(f"{session}/restore", json={"step": 7}).raise_for_status()
    assert bits(step(client, session, READ)) == PATTERN
    now, left = trace(client, session), trace(client, session, revision=3)
    assert (steps_of(now), set(now["revisions"])) == ([8, 9, 10, 11, 12, 13], {5})
    assert (steps_of(left), left["revisions"]) == (list(range(1, 10)), [2] * 7 + [3] * 2)
    assert arrays(left)["memory"][7] == pytest.approx(arrays(now)["memory"][0], abs=CLOSE)


def test_a_trace_of_an_imported_state_begins_with_it(client: httpx.Client, session: str):
    step(client, session, WRITE)
    data = client.get(f"{session}/state").content
    other = f"/v1/sessions/{create(client)['id']}"
    kind = {"content-type": "application/vnd.safetensors"}
    client.put(f"{other}/state", content=data, headers=kind).raise_for_status()
    step(client, other, READ)
    told = arrays(trace(client, other, roles="memory"))
    held = arrays(trace(client, session, roles="memory"))["memory"][-1]
    assert told["memory"][0] == pytest.approx(held, abs=CLOSE)
    assert np.round(told["outputs"]).tolist() == PATTERN


def test_a_trace_runs_on_the_version_that_its_rows_ran_on(client: httpx.Client):
    session = f"/v1/sessions/{create(client, 'small', version='1')['id']}"
    rows = np.random.default_rng(3).normal(size=(4, 7)).tolist()
    sent = step(client, session, rows).json()["outputs"]
    client.post(f"{session}/migrate", json={"version": "2"}).raise_for_status()
    step(client, session, rows)
    found = trace(client, session, revision=2)
    assert found["version"] == "1"
    assert arrays(found)["outputs"] == pytest.approx(np.array(sent), abs=CLOSE)
    assert trace(client, session)["version"] == "2"


def test_only_the_roles_that_are_asked_for_are_told(client: httpx.Client, session: str):
    step(client, session, WRITE)
    found = trace(client, session, roles="read_weights,gate")
    assert [t["name"] for t in found["state"]] == ["read_weights"]
    assert [t["name"] for t in found["trace"]] == ["read_gate", "write_gate"]
    none = trace(client, session, roles="unheard_of")
    assert (none["state"], none["trace"], none["revisions"]) == ([], [], [2] * 7)


def test_a_trace_comes_as_messagepack_with_the_same_numbers(client: httpx.Client, session: str):
    step(client, session, WRITE)
    plain = arrays(trace(client, session))
    answer = client.get(f"{session}/trace", headers={"accept": "application/msgpack"})
    packed = msgspec.msgpack.decode(answer.content)
    for tensor in [*packed["state"], *packed["trace"]]:
        raw = np.frombuffer(tensor["data"], "<f4").reshape(tensor["dims"])
        assert (raw == plain[tensor["name"]]).all()


def test_looking_back_changes_nothing(client: httpx.Client, session: str):
    step(client, session, WRITE)
    before = (client.get(session).headers["etag"], memory_of(client, session))
    trace(client, session)
    explained(client, session)
    assert (client.get(session).headers["etag"], memory_of(client, session)) == before
    assert bits(step(client, session, READ)) == PATTERN


@pytest.mark.parametrize("what", ["trace", "explain"])
def test_rows_that_are_not_kept_are_refused(client: httpx.Client, session: str, what: str):
    path = f"{session}/{what}"
    assert refused(client, path) == (404, "point_not_kept")
    step(client, session, WRITE)
    assert refused(client, path, revision=1) == (404, "point_not_kept")
    assert refused(client, path, revision=3) == (404, "point_not_kept")
    assert refused(client, path, step=8) == (404, "point_not_kept")
    assert refused(client, path, revision=2, step=9) == (404, "point_not_kept")
    assert refused(client, "/v1/sessions/nobody/" + what) == (404, "session_not_found")


@pytest.mark.parametrize(
    "query",
    [{"rows": 0}, {"rows": 1025}, {"revision": 0}, {"step": "x"}, {"roles": "Key"}, {"roles": ""}],
)
def test_what_a_trace_cannot_be_asked_is_refused(
    client: httpx.Client, session: str, query: dict[str, Any]
):
    assert refused(client, f"{session}/trace", **query) == (400, "invalid_request")


def test_an_explanation_says_where_the_copy_models_heads_are_and_how_they_came_there(
    client: httpx.Client, session: str
):
    step(client, session, WRITE)
    step(client, session, READ)
    found = explained(client, session)
    told = arrays(trace(client, session))
    assert [row["step"] for row in found["rows"]] == list(range(1, 14))
    assert [head["head"] for head in found["heads"]] == ["write", "read"]
    for at, row in enumerate(found["rows"]):
        for head in row["heads"]:
            weights = told[f"{head['kind']}_weights"][at + 1, 0]
            assert head["slot"] == weights.argmax()
            assert head["weight"] == pytest.approx(weights.max(), abs=1e-6)
            assert head["gate"] == pytest.approx(told[f"{head['kind']}_gate"][at, 0, 0], abs=1e-6)
            assert (head["way"] == "content") == (head["gate"] > 0.5)


def test_the_copy_model_writes_on_round_the_ring_and_reads_what_was_written_as_long_ago(
    client: httpx.Client, session: str
):
    step(client, session, WRITE)
    step(client, session, READ)
    found = explained(client, session, rows=6)
    writer, reader = found["heads"]
    assert writer["moves"]["back"] == 1.0
    assert reader["focused"] == 6
    whole = explained(client, session)["rows"][-6:]
    assert {row["heads"][1]["age"] for row in whole} == {6}, "each row of six is read in order"


def test_both_stand_in_the_document_with_how_they_may_end(client: httpx.Client):
    document = client.get("/schema/openapi.json").json()["paths"]
    for what in ("trace", "explain"):
        responses = document[f"/v1/sessions/{{session_id}}/{what}"]["get"]["responses"]
        assert {"200", "400", "401", "403", "404", "410"} <= set(responses)
