import struct

import httpx
import numpy as np
import pytest
import safetensors.numpy

from tests.service.test_routes_mutations import PATTERN, READ, WRITE, bits, memory_of
from tests.service.test_routes_sessions import create, step

SAFETENSORS = {"content-type": "application/vnd.safetensors"}


def taken(client: httpx.Client, session: str) -> bytes:
    answer = client.get(f"{session}/state")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/vnd.safetensors"
    return answer.content


def put(client: httpx.Client, session: str, data: bytes, **headers: str) -> httpx.Response:
    return client.put(f"{session}/state", content=data, headers=SAFETENSORS | headers)


def test_the_history_tells_what_was_done_newest_first(client: httpx.Client, session: str):
    sent = step(client, session, WRITE).json()["outputs"]
    step(client, session, READ[:1])
    client.post(f"{session}/restore", json={"step": 7})
    found = client.get(f"{session}/history").json()
    assert [(e["kind"], e["step"], e["revision"]) for e in found["history"]][:3] == [
        ("restore", 7, 4),
        ("step", 8, 3),
        ("step", 7, 2),
    ]
    assert found["history"][2]["inputs"] == WRITE
    assert found["history"][2]["outputs"] == sent
    assert found["cursor"] is None


def test_the_history_is_read_page_by_page(client: httpx.Client, session: str):
    for _ in range(5):
        step(client, session, READ[:1])
    revisions: list[int] = []
    cursor = None
    while True:
        query = {"limit": 2} | ({} if cursor is None else {"cursor": cursor})
        page = client.get(f"{session}/history", params=query).json()
        assert len(page["history"]) <= 2
        revisions += [entry["revision"] for entry in page["history"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert revisions[:5] == [6, 5, 4, 3, 2]
    assert len(set(revisions)) == len(revisions)


def test_a_state_taken_from_one_session_goes_on_in_another(client: httpx.Client, session: str):
    step(client, session, WRITE)
    data = taken(client, session)
    other = f"/v1/sessions/{create(client)['id']}"
    answer = put(client, other, data)
    assert (answer.status_code, answer.json()) == (200, {"step": 7, "revision": 2, "version": "1"})
    assert memory_of(client, other) == memory_of(client, session)
    assert bits(step(client, other, READ)) == PATTERN
    assert memory_of(client, session) != memory_of(client, other)


def test_a_state_file_holds_each_tensor_by_name(client: httpx.Client, session: str):
    step(client, session, WRITE)
    arrays = safetensors.numpy.load(taken(client, session))
    shown = memory_of(client, session)
    assert set(arrays) == {tensor["name"] for tensor in shown}
    for tensor in shown:
        assert list(arrays[tensor["name"]].shape) == tensor["dims"]
        assert np.array_equal(arrays[tensor["name"]].ravel(), np.float32(tensor["data"]))


def test_an_import_is_conditional_and_safe_to_repeat(client: httpx.Client, session: str):
    data = taken(client, session)
    old = client.get(session).headers["etag"]
    step(client, session, WRITE)
    refused = put(client, session, data, **{"if-match": old})
    assert (refused.status_code, refused.json()["code"]) == (412, "revision_mismatch")
    first = put(client, session, data, **{"idempotency-key": "k"})
    again = put(client, session, data, **{"idempotency-key": "k"})
    assert first.json() == again.json() == {"step": 0, "revision": 3, "version": "1"}
    assert again.headers["idempotency-replayed"] == "true"


def _damaged(data: bytes, name: str) -> bytes:
    arrays = safetensors.numpy.load(data)
    length = struct.unpack("<Q", data[:8])[0]
    metadata = httpx.Response(200, content=data[8 : 8 + length]).json()["__metadata__"]
    match name:
        case "nan":
            arrays["memory"][3, 4] = np.nan
        case "missing":
            del arrays["memory"]
        case "unknown":
            arrays["memories"] = arrays["memory"]
        case "dims":
            arrays["memory"] = arrays["memory"][:-1].copy()
        case "dtype":
            arrays["memory"] = arrays["memory"].astype(np.float16)
        case "spec":
            metadata["spec"] = "0" * 64
        case _:
            metadata["format"] = "2"
    return safetensors.numpy.save(arrays, metadata)


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("nan", 400, "not_finite"),
        ("missing", 400, "wrong_shape"),
        ("unknown", 400, "invalid_request"),
        ("dims", 400, "wrong_shape"),
        ("dtype", 400, "invalid_request"),
        ("spec", 409, "spec_mismatch"),
        ("format", 400, "invalid_request"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(
    client: httpx.Client, session: str, name: str, status: int, code: str
):
    answer = put(client, session, _damaged(taken(client, session), name))
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert client.get(session).json()["revision"] == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 8,
        b"\xff" * 64,
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 1 << 62) + b"{}",
        struct.pack("<Q", 100_000) + b"[" * 100_000,
        struct.pack("<Q", 30) + b'{"a":{"dtype":"F32","shape":[4294967296,4294967296]}}',
    ],
)
def test_what_is_no_state_file_is_refused_and_changes_nothing(
    client: httpx.Client, session: str, data: bytes
):
    answer = put(client, session, data)
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "invalid_request"
    assert client.get(session).json()["revision"] == 1


def test_a_state_of_another_model_is_refused(client: httpx.Client, session: str):
    small = f"/v1/sessions/{create(client, 'small')['id']}"
    answer = put(client, session, taken(client, small))
    assert (answer.status_code, answer.json()["code"]) == (409, "spec_mismatch")


def test_a_state_comes_only_as_safetensors(client: httpx.Client, session: str):
    answer = client.put(f"{session}/state", json={})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
