import httpx
import pytest

from tests.service.serving import ROW


@pytest.mark.parametrize(
    ("method", "path", "got", "expected"),
    [
        ("GET", "/v1/sessions?limti=3", "limti", "one of cursor, limit, model"),
        ("GET", "/v1/sessions?limit=3&limit2", "limit2", "one of cursor, limit, model"),
        ("GET", "/v1/models?all=1", "all", "no parameter"),
    ],
)
def test_a_parameter_that_a_route_does_not_have_is_refused(
    client: httpx.Client, method: str, path: str, got: str, expected: str
):
    answer = client.request(method, path)
    told = answer.json()
    assert (answer.status_code, told["code"]) == (400, "invalid_request")
    assert (told["where"], told["got"], told["expected"]) == (got, got, expected)


def test_a_mutation_with_an_unknown_parameter_changes_nothing(client: httpx.Client, session: str):
    answer = client.post(f"{session}/steps?trce=1", json={"inputs": [ROW]})
    assert (answer.status_code, answer.json()["got"]) == (400, "trce")
    assert client.get(session).json()["step"] == 0


def test_a_known_parameter_is_taken(client: httpx.Client, session: str):
    assert client.get("/v1/sessions?limit=1").status_code == 200
    assert client.get(f"{session}/history?limit=1").status_code == 200


def test_a_parameter_that_comes_twice_is_refused(client: httpx.Client):
    answer = client.get("/v1/sessions?limit=1&limit=2")
    told = answer.json()
    assert (answer.status_code, told["code"]) == (400, "invalid_request")
    assert (told["where"], told["expected"]) == ("limit", "one value")


def test_a_model_that_can_be_none_is_no_filter(client: httpx.Client):
    answer = client.get("/v1/sessions?model=../copy")
    assert (answer.status_code, answer.json()["where"]) == (400, "model")
    assert client.get("/v1/sessions?model=nothing").json()["sessions"] == []
