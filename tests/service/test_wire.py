"""MessagePack and JSON say the same: on the real server, both ways, and in what is refused."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service import wire
from service.body import Head
from service.errors import InvalidMsgpack, NotFinite, NtmError, WrongShape
from service.rows import pack
from service.schemas import CreateBody, StepsBody, Tensor
from tests.service.serving import Server

KIND = "application/msgpack"
ROWS = np.random.default_rng(4).integers(0, 2, (5, 9)).astype("<f4")
READER = wire.Reader(StepsBody)


def tensor(values: np.ndarray) -> dict[str, Any]:
    return {"dims": values.shape, "data": values.astype("<f4").tobytes()}


def packed(value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


def floats(value: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(value["data"], "<f4").reshape(value["dims"])


def post(
    client: httpx.Client, path: str, value: Any, accept: str = KIND, **headers: str
) -> httpx.Response:
    given = {"content-type": KIND, "accept": accept} | headers
    return client.post(path, content=packed(value), headers=given)


def unpacked(answer: httpx.Response) -> Any:
    assert answer.headers["content-type"] == KIND, answer.text
    return msgspec.msgpack.decode(answer.content)


def test_rows_come_and_go_as_raw_float32_and_are_the_very_numbers_of_json(
    client: httpx.Client, session: str
):
    other = client.post("/v1/models/copy/sessions").headers["location"]
    plain = client.post(f"{other}/steps", json={"inputs": ROWS.tolist(), "trace": True}).json()
    answer = post(client, f"{session}/steps", {"inputs": tensor(ROWS), "trace": True})
    told = unpacked(answer)
    assert np.array_equal(floats(told["outputs"]), np.float32(plain["outputs"]))
    assert (told["step"], told["revision"]) == (plain["step"], plain["revision"]) == (5, 2)
    assert answer.headers["etag"]
    for raw, listed in zip(told["trace"], plain["trace"], strict=True):
        assert (raw["name"], raw["role"], raw["dims"]) == tuple(
            listed[name] for name in ("name", "role", "dims")
        )
        assert np.array_equal(floats(raw).ravel(), np.float32(listed["data"]))


def test_a_repeat_in_the_other_form_gets_the_first_answer_in_its_own(
    client: httpx.Client, session: str
):
    key = {"idempotency-key": "k1"}
    first = client.post(f"{session}/steps", json={"inputs": ROWS.tolist()}, headers=key)
    repeat = post(client, f"{session}/steps", {"inputs": tensor(ROWS)}, **key)
    assert repeat.headers["idempotency-replayed"] == "true"
    assert np.array_equal(floats(unpacked(repeat)["outputs"]), np.float32(first.json()["outputs"]))
    back = post(client, f"{session}/steps", {"inputs": ROWS.tolist()}, "application/json", **key)
    assert back.json() == first.json()
    assert client.get(session).json()["revision"] == 2


def test_a_creation_and_its_repeat_in_the_other_form_are_one(client: httpx.Client):
    memory = np.random.default_rng(5).normal(size=(128, 20)).astype("<f4")
    key = {"idempotency-key": "create-in-both-forms"}
    path = "/v1/models/copy/sessions"
    first = post(client, path, {"state": {"memory": tensor(memory)}}, **key)
    assert first.status_code == 201
    listed = {"state": {"memory": memory.astype(float).tolist()}}
    again = client.post(path, json=listed, headers=key)
    assert again.json()["id"] == unpacked(first)["id"]
    state = client.get(f"{again.headers['location']}/memory", headers={"accept": KIND})
    (found,) = [t for t in unpacked(state)["state"] if t["name"] == "memory"]
    assert np.array_equal(floats(found), memory)


def test_every_answer_of_a_session_is_there_in_messagepack(client: httpx.Client, session: str):
    client.post(f"{session}/steps", json={"inputs": ROWS.tolist()})
    accept = {"accept": KIND}
    for path in (session, "/v1/sessions", "/v1/models", "/v1/models/copy", f"{session}/snapshots"):
        plain = client.get(path).json()
        assert set(unpacked(client.get(path, headers=accept))) == set(plain), path
    history = unpacked(client.get(f"{session}/history", headers=accept))["history"]
    assert np.array_equal(floats(history[0]["inputs"]), ROWS)
    assert "inputs" not in history[1]
    moved = post(client, f"{session}/reset", {})
    assert unpacked(moved)["step"] == 0
    assert unpacked(post(client, f"{session}/fork", {"id": "forked-in-msgpack"}))["step"] == 0
    told = unpacked(post(client, "/v1/models/copy/predict", {"inputs": tensor(ROWS)}))
    plain = client.post("/v1/models/copy/predict", json={"inputs": ROWS.tolist()}).json()
    assert np.array_equal(floats(told["outputs"]), np.float32(plain["outputs"]))


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, wire.JSON),
        (b"*/*", wire.JSON),
        (b"application/json", wire.JSON),
        (b"application/msgpack", wire.MSGPACK),
        (b"Application/X-MsgPack", wire.MSGPACK),
        (b"application/vnd.msgpack;q=0.5, text/html", wire.MSGPACK),
        (b"application/json, application/msgpack", wire.JSON),
        (b"application/json;q=0.5, application/msgpack", wire.MSGPACK),
        (b"application/json, application/msgpack;q=0.9", wire.JSON),
        (b"application/msgpack;q=0", wire.JSON),
        (b"application/msgpack;q=x", wire.JSON),
        (b"text/msgpack", wire.JSON),
    ],
)
def test_an_answer_is_messagepack_where_that_is_asked_for(accept: bytes | None, form: wire.Form):
    head: Head = {} if accept is None else {b"accept": accept}
    assert wire.form_of(head) is form


NAN, INF = float("nan"), float("inf")
BAD = [
    (b"", InvalidMsgpack, "an empty body"),
    (b"\xc1", InvalidMsgpack, "1 bytes"),
    (b"\x81\xa6inputs", InvalidMsgpack, "8 bytes"),
    (packed({"inputs": [[1.0]]}) + b"\x00", InvalidMsgpack, "trailing"),
    (b"\x81\xa6inputs\xdd\xff\xff\xff\xff", InvalidMsgpack, "truncated"),
    (b"\x81\xa6inputs" + b"\x91" * 100_000, NtmError, "array"),
    (packed({"inputs": 3}), NtmError, "int"),
    (packed({"rows": 3}), NtmError, "the unknown field 'rows'"),
    (packed({"inputs": {"dims": [1, 2], "data": "text"}}), NtmError, "str"),
    (packed({"inputs": {"dims": [1, 2], "data": b"", "dtype": "<f8"}}), NtmError, "'dtype'"),
    (packed({"inputs": {"dims": [2], "data": b"\0" * 8}}), WrongShape, "[2]"),
    (packed({"inputs": {"dims": [0, 2], "data": b""}}), WrongShape, "[0, 2]"),
    (packed({"inputs": {"dims": [-1, -2], "data": b"\0" * 8}}), WrongShape, "[-1, -2]"),
    (packed({"inputs": {"dims": [1, 2], "data": b"\0" * 7}}), WrongShape, "7 bytes"),
    (packed({"inputs": {"dims": [1 << 62, 1 << 62], "data": b""}}), NtmError, "rows"),
    (packed({"inputs": tensor(np.array([[1, NAN]]))}), NotFinite, "nan"),
    (packed({"inputs": tensor(np.array([[INF, 1]]))}), NotFinite, "inf"),
    (packed({"inputs": [[1.0, NAN]]}), NotFinite, "nan"),
    (packed({"inputs": [[1.0, -INF]]}), NotFinite, "-inf"),
]


@pytest.mark.parametrize(("data", "kind", "got"), BAD)
def test_what_is_no_fit_messagepack_is_refused_saying_what_came(
    data: bytes, kind: type[NtmError], got: str
):
    with pytest.raises(kind) as caught:
        pack(READER.decode(wire.MSGPACK, data).inputs, 4096)
    assert caught.value.status in (400, 413)
    assert got in str(caught.value.extra["got"])


def test_a_refusal_is_problem_details_in_json_whatever_is_asked_for(
    client: httpx.Client, session: str
):
    answer = post(client, f"{session}/steps", {"inputs": tensor(np.full((1, 9), NAN))})
    assert (answer.status_code, answer.json()["code"]) == (400, "not_finite")
    assert answer.json()["where"] == "$.inputs.data[0]"
    assert client.get(session).json()["revision"] == 1
    other = client.post(f"{session}/steps", content=b"x", headers={"content-type": "text/plain"})
    assert other.json()["expected"] == "application/json or application/msgpack"


def test_a_ttl_that_is_no_number_is_refused():
    with pytest.raises(NtmError):
        wire.Reader(CreateBody).decode(wire.MSGPACK, packed({"idle_ttl_s": NAN}))


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda b: b"\x81\xa6inputs" + b))
@settings(max_examples=300)
def test_no_bytes_bring_the_reader_down(data: bytes):
    try:
        count, width = pack(READER.decode(wire.MSGPACK, data).inputs, 4096)[1]
    except NtmError as error:
        assert error.status in (400, 413)
    else:
        assert count >= 1 and width >= 1


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.text()
    | st.binary(max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)  # fmt: skip


@given(
    st.fixed_dictionaries({"inputs": JUNK}, optional={"trace": JUNK})
    | st.fixed_dictionaries(
        {"inputs": st.fixed_dictionaries({"dims": st.lists(st.integers(-2, 12)), "data": JUNK})}
    )
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_document_gets_a_5xx_or_moves_a_session(
    server: Server, client: httpx.Client, session: str, value: Any
):
    before = client.get(session).json()["revision"]
    answer = post(client, f"{session}/steps", value)
    assert answer.status_code in (200, 400, 413)
    if answer.status_code != 200:
        assert client.get(session).json()["revision"] == before


def test_a_tensor_in_json_is_base64(client: httpx.Client, session: str):
    body = msgspec.json.encode({"inputs": Tensor(ROWS.shape, ROWS.tobytes())})
    head = {"content-type": "application/json"}
    answer = client.post(f"{session}/steps", content=body, headers=head)
    assert answer.status_code == 200
    assert len(answer.json()["outputs"]) == 5
