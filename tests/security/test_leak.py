"""Nothing of a session reaches another: not by its batch, nor by a slot or a name used again."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
import safetensors.numpy

from tests.service.serving import Server

SESSIONS = 20  # on four slots, in host memory for three states: most lie in the store


def mark(number: int) -> float:
    """A number that no state comes to by itself."""
    return float(np.float32(1000.5 + number))


def rows(number: int, count: int = 6) -> list[list[float]]:
    """Bits by which one session's input is told from another's."""
    return np.random.default_rng(number).integers(0, 2, (count, 9)).astype(float).tolist()


def dump(client: httpx.Client, session: str) -> dict[str, np.ndarray]:
    """Every number of a session's state."""
    answer = client.get(f"/v1/sessions/{session}/state")
    assert answer.status_code == 200, answer.text
    return safetensors.numpy.load(answer.content)


def marks_in(state: dict[str, np.ndarray]) -> set[float]:
    """The marks that stand anywhere in a state."""
    known = {mark(number) for number in range(SESSIONS)}
    return {float(value) for array in state.values() for value in array.ravel()} & known


@pytest.fixture
def initial(target: httpx.Client) -> dict[str, np.ndarray]:
    """What a session begins with."""
    return dump(target, target.post("/v1/models/copy/sessions").json()["id"])


def marked(client: httpx.Client, number: int) -> str:
    """A session whose memory is full of its mark."""
    memory = [[mark(number)] * 20] * 128
    answer = client.post("/v1/models/copy/sessions", json={"state": {"memory": memory}})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def test_a_mark_never_shows_in_another_session_however_slots_are_used_again(
    target: httpx.Client, initial: dict[str, np.ndarray]
):
    row = {"inputs": [[0] * 9]}
    sessions = [marked(target, number) for number in range(SESSIONS)]
    for number, session in enumerate(sessions):
        assert marks_in(dump(target, session)) == {mark(number)}
    for session in sessions[::2]:
        assert target.delete(f"/v1/sessions/{session}").status_code == 204
    for _ in range(SESSIONS):
        fresh = target.post("/v1/models/copy/sessions").json()["id"]
        state = dump(target, fresh)
        assert {n: a.tobytes() for n, a in state.items()} == {
            n: a.tobytes() for n, a in initial.items()
        }
        assert target.post(f"/v1/sessions/{fresh}/steps", json=row).status_code == 200
        assert marks_in(dump(target, fresh)) == set()
    for number, session in list(enumerate(sessions))[1::2]:
        assert marks_in(dump(target, session)) == {mark(number)}


def test_a_name_used_again_brings_nothing_of_the_one_before(
    target: httpx.Client, initial: dict[str, np.ndarray]
):
    for number in range(3):
        memory = [[mark(number)] * 20] * 128
        body: dict[str, Any] = {"id": "again", "state": {"memory": memory}}
        assert target.post("/v1/models/copy/sessions", json=body).status_code == 201
        target.post("/v1/sessions/again/steps", json={"inputs": rows(number)})
        target.post("/v1/sessions/again/snapshots", json={"name": "kept"})
        assert target.delete("/v1/sessions/again").status_code == 204
        assert target.post("/v1/models/copy/sessions", json={"id": "again"}).status_code == 201
        assert marks_in(dump(target, "again")) == set()
        assert len(target.get("/v1/sessions/again/history").json()["history"]) == 1
        assert target.get("/v1/sessions/again/snapshots").json() == {"snapshots": []}
        restored = target.post("/v1/sessions/again/restore", json={"snapshot": "kept"})
        assert restored.status_code == 404
        assert target.delete("/v1/sessions/again").status_code == 204


def test_sessions_stepped_at_once_answer_as_each_alone(attacked: Server, target: httpx.Client):
    together = threading.Barrier(8)

    def run(number: int) -> list[list[float]]:
        with attacked.client() as client:
            session = client.post("/v1/models/copy/sessions").json()["id"]
            together.wait(60)
            found: list[list[float]] = []
            for row in rows(number):
                answer = client.post(f"/v1/sessions/{session}/steps", json={"inputs": [row]})
                assert answer.status_code == 200, answer.text
                found += answer.json()["outputs"]
            return found

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(run, range(16)))
    for number, outputs in enumerate(found):
        alone = target.post("/v1/models/copy/predict", json={"inputs": rows(number)})
        assert alone.json()["outputs"] == outputs
    assert len({str(outputs) for outputs in found}) == 16


def test_a_bad_member_of_a_batch_costs_only_itself(attacked: Server, target: httpx.Client):
    """Huge states go to infinity beside others in the same batch."""
    huge = [[3.0e38] * 20] * 128
    body = {"state": {"memory": huge}}
    bad = target.post("/v1/models/copy/sessions", json=body).json()["id"]
    good = target.post("/v1/models/copy/sessions").json()["id"]
    together = threading.Barrier(2)

    def run(session: str, number: int) -> list[list[float]]:
        with attacked.client() as client:
            together.wait(60)
            answers = [
                client.post(f"/v1/sessions/{session}/steps", json={"inputs": [row]})
                for row in rows(number)
            ]
        assert all(answer.status_code < 500 for answer in answers)
        return [answer.json().get("outputs", [[]])[0] for answer in answers]

    with ThreadPoolExecutor(2) as pool:
        spoilt, kept = pool.map(run, (bad, good), (1, 2))
    alone = target.post("/v1/models/copy/predict", json={"inputs": rows(2)}).json()["outputs"]
    assert kept == alone and spoilt != alone
