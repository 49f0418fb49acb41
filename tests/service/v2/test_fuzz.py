"""Bodies, lengths and compressed streams that nobody meant: no 5xx, no hang, no step taken."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service.serving import Server, memory_of

SEQUENCE = "fuzzed"
SESSION = f"/v1/sessions/v2~accumulator~string~{SEQUENCE}"
INFER = "/v2/models/accumulator/infer"
LIMIT_S = 30.0
MEGABYTE = 1_000_000
PARAMETERS = {"sequence_id": SEQUENCE, "sequence_start": False, "sequence_end": False}

EXAMPLES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def fuzzed(server: Server) -> Iterator[httpx.Client]:
    """A client, with a sequence that every example is about."""
    with httpx.Client(base_url=server.url, timeout=LIMIT_S) as client:
        body = body_of(PARAMETERS | {"sequence_start": True}, data=[1.0])
        client.post(INFER, content=body).raise_for_status()
        yield client


def body_of(parameters: Any = PARAMETERS, **tensor: Any) -> bytes:
    """A row of the sequence in JSON, or the JSON before it."""
    one = {"name": "x", "shape": [1, 1], "datatype": "FP32"} | tensor
    return json.dumps({"inputs": [one], "parameters": parameters}).encode()


def stands(client: httpx.Client) -> tuple[str, int]:
    session = client.get(SESSION).json()
    return session["incarnation"], session["step"]


def send(client: httpx.Client, body: bytes, headers: dict[str, str]) -> None:
    """What comes back is an answer, or a refusal in the protocol's shape that took no step."""
    before = stands(client)
    answer = client.post(INFER, content=body, headers=headers)
    assert answer.status_code < 500, (answer.text, body, headers)
    if answer.status_code == 200:
        header = answer.headers.get("inference-header-content-length", len(answer.content))
        said = json.loads(answer.content[: int(header)]).get("parameters", {})
        moved = said.get("sequence_id") == SEQUENCE and not said["replayed"]
        assert (stands(client) != before) == moved, (said, body, headers)
    else:
        assert list(answer.json()) == ["error"]
        assert stands(client) == before, (answer.text, body, headers)


@EXAMPLES
@given(
    head=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()),
    tail=st.binary(max_size=40),
    length=st.integers(-2, 120).map(str) | st.text("0123456789-+x.", max_size=12),
)
def test_what_is_no_body_at_all(fuzzed: httpx.Client, head: bytes, tail: bytes, length: str):
    send(fuzzed, head + tail, {"inference-header-content-length": length})
    send(fuzzed, head + tail, {"inference-header-content-length": str(len(head))})
    send(fuzzed, head + tail, {})


@EXAMPLES
@given(
    shape=JSON | st.lists(st.integers(-3, 2**70) | st.just(10**4000), max_size=4),
    size=JSON | st.integers(0, 64),
    parameters=JSON,
    datatype=st.sampled_from(["FP32", "FP64", "BYTES", ""]) | JSON,
    off=st.integers(-3, 3),
    tail=st.binary(max_size=24),
)
def test_a_head_that_lies_about_its_tensor(
    fuzzed: httpx.Client,
    shape: Any,
    size: Any,
    parameters: Any,
    datatype: Any,
    off: int,
    tail: bytes,
):
    of_all = PARAMETERS | parameters if isinstance(parameters, dict) else parameters
    tensor = {"shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}}
    one = {"name": "x"} | tensor
    head = json.dumps({"inputs": [one], "parameters": of_all}).encode()
    length = str(len(head) + off)
    send(fuzzed, head + tail, {"inference-header-content-length": length})


@EXAMPLES
@given(
    data=JSON | st.lists(st.floats(width=32), max_size=4),
    shape=st.sampled_from([[1, 1], [1, 2, 1], [2, 1]]),
)
def test_data_of_any_kind_in_json(fuzzed: httpx.Client, data: Any, shape: list[int]):
    send(fuzzed, body_of(data=data, shape=shape), {})


@EXAMPLES
@given(
    at=st.integers(0, 400), to=st.binary(min_size=1, max_size=3), cut=st.integers(0, 60),
    packer=st.sampled_from(["gzip", "deflate", "identity"]), lie=st.booleans(),
)  # fmt: skip
def test_a_body_with_some_bytes_changed_or_cut_off(
    fuzzed: httpx.Client, at: int, to: bytes, cut: int, packer: str, lie: bool
):
    one = {"name": "x", "shape": [1, 1], "datatype": "FP32"}
    inputs = [one | {"parameters": {"binary_data_size": 4}}]
    head = json.dumps({"inputs": inputs, "parameters": PARAMETERS}).encode()
    whole = head + struct.pack("<f", 1.0)
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}[packer]
    body = pack(whole)
    spoilt = body[:at] + to + body[at + len(to) :]
    spoilt = spoilt[: len(spoilt) - cut] if lie else spoilt
    headers = {"inference-header-content-length": str(len(head)), "content-encoding": packer}
    send(fuzzed, spoilt, headers)


@EXAMPLES
@given(data=st.binary(max_size=200), coding=st.sampled_from(["gzip", "deflate"]))
def test_streams_that_are_none(fuzzed: httpx.Client, data: bytes, coding: str):
    send(fuzzed, data, {"content-encoding": coding})


def test_bombs_lies_and_long_documents_leave_no_memory_behind(server: Server, fuzzed: httpx.Client):
    (front,) = server.children("service.front")
    bomb = gzip.compress(b" " * (256 * MEGABYTE), 9)
    lie = body_of(parameters=PARAMETERS | {"x": "y" * MEGABYTE}, shape=[1, 10**6])
    deep = b"[" * MEGABYTE
    headers = {"content-encoding": "gzip"}

    def flood() -> None:
        send(fuzzed, bomb, headers)
        send(fuzzed, lie, {"inference-header-content-length": str(len(lie))})
        send(fuzzed, deep, {})
        send(fuzzed, gzip.compress(deep), headers)

    for _ in range(3):  # what is kept once, such as buffers, is there
        flood()
    before = memory_of(front)
    for _ in range(20):
        flood()
    assert memory_of(front) - before < 32 * MEGABYTE
