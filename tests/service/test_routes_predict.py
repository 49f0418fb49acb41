import httpx
import numpy as np

ROWS = np.random.default_rng(1).integers(0, 2, (5, 9)).astype(float).tolist()


def test_a_prediction_is_what_a_fresh_session_would_answer(client: httpx.Client, session: str):
    predicted = client.post("/v1/models/copy/predict", json={"inputs": ROWS})
    stepped = client.post(f"{session}/steps", json={"inputs": ROWS})
    assert predicted.status_code == 200
    assert set(predicted.json()) == {"outputs"}
    assert predicted.json()["outputs"] == stepped.json()["outputs"]


def test_a_prediction_leaves_nothing_behind(client: httpx.Client):
    before = client.get("/v1/sessions?limit=1000").json()
    first = client.post("/v1/models/copy/predict", json={"inputs": ROWS}).json()
    assert client.post("/v1/models/copy/predict", json={"inputs": ROWS}).json() == first
    assert client.get("/v1/sessions?limit=1000").json() == before


def test_a_prediction_may_name_its_version(client: httpx.Client):
    rows = [row[:7] for row in ROWS]
    answers = [
        client.post("/v1/models/small/predict", json={"inputs": rows, "version": version}).json()
        for version in ("1", "2", None)
    ]
    assert np.array(answers[0]["outputs"]).shape == (5, 5)
    assert answers[0] != answers[1] == answers[2]
