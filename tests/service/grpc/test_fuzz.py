"""Whatever bytes come as a message: a status that is the client's, no hang, and nothing moved."""

from __future__ import annotations

import itertools
from typing import Any

import grpc
import httpx
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.grpc.calls import METHODS
from tests.service.grpc.conftest import request, rows, service_pb2, unary
from tests.service.grpc.test_stream import stream

LIMIT_S = 30
NUMBERS = itertools.count(4000)
OURS = {"INTERNAL", "UNKNOWN", "DATA_LOSS", "DEADLINE_EXCEEDED", "UNAVAILABLE"}
FUZZ = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

READING = sorted(set(METHODS) - {"RepositoryModelLoad", "RepositoryModelUnload"})

# A message's fields with values of the right kind, most of them wrong.
TEXT = st.one_of(st.sampled_from(["", "small", "x", "FP32", "1"]), st.text(max_size=20))
INTEGERS = st.one_of(st.sampled_from([0, 1, -1, 7, 2**31, 2**63 - 1, -(2**63)]), st.integers(-9, 9))
VALUES = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=True), st.text(max_size=9)
)
KEYS = st.one_of(
    st.sampled_from(["sequence_start", "sequence_end", "timeout", "priority", "sequence_id"]), TEXT
)


def sequence_of(session: str) -> int:
    return int(session.rpartition("~")[2])


def begun(channel: grpc.Channel) -> str:
    """The id of a fresh sequence's session, one row in."""
    first = request(rows(1), sequence_id=next(NUMBERS), sequence_start=True)
    answer = unary(channel)(first.SerializeToString(), timeout=LIMIT_S)
    parameters = service_pb2.ModelInferResponse.FromString(answer).parameters
    return parameters["session"].string_param


def standing(http: httpx.Client, session: str) -> tuple[int, ...]:
    """Where a session stands: step and revision, or that it has ended."""
    answer = http.get(f"/v1/sessions/{session}")
    if answer.status_code != 200:
        return (answer.status_code,)
    return answer.json()["step"], answer.json()["revision"]


def outcome(channel: grpc.Channel, method: str, data: bytes) -> str:
    """The status of a call. Fails where it is one that only a fault of the server has."""
    try:
        unary(channel, method)(data, timeout=LIMIT_S)
    except grpc.RpcError as error:
        failed: Any = error
        assert failed.code().name not in OURS, failed
        assert ": " in failed.details()
        return failed.code().name
    return "OK"


@FUZZ
@given(data=st.binary(max_size=400), method=st.sampled_from(sorted(METHODS)))
def test_bytes_of_any_kind_get_a_status(channel: grpc.Channel, data: bytes, method: str):
    if method in READING or not names_a_model(method, data):
        outcome(channel, method, data)


def names_a_model(method: str, data: bytes) -> bool:
    """Would this load or unload a model that other tests need?"""
    try:
        return bool(getattr(service_pb2, f"{method}Request").FromString(data).model_name)
    except DecodeError:
        return False


@FUZZ
@given(data=st.data())
def test_a_step_that_is_bent_somewhere_runs_whole_or_changes_nothing(
    channel: grpc.Channel, http: httpx.Client, data: st.DataObject
):
    session = begun(channel)
    asked = bytearray(request(rows(1), sequence_id=sequence_of(session)).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(asked) - 1))
        kind = data.draw(st.sampled_from(["change", "cut", "insert", "repeat"]))
        if kind == "change":
            asked[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del asked[at : at + data.draw(st.integers(1, 8))]
        elif kind == "insert":
            asked[at:at] = data.draw(st.binary(min_size=1, max_size=8))
        else:
            asked[at:at] = asked[: data.draw(st.integers(1, len(asked)))]
        if not asked:
            break
    before = standing(http, session)
    done = outcome(channel, "ModelInfer", bytes(asked))
    after = standing(http, session)
    assert after == before or done == "OK"


@FUZZ
@given(
    name=TEXT,
    datatype=TEXT,
    shape=st.lists(INTEGERS, max_size=5),
    raw=st.lists(st.binary(max_size=64), max_size=3),
    listed=st.lists(st.floats(width=32), max_size=9),
    parameters=st.dictionaries(KEYS, VALUES, max_size=3),
    outputs=st.lists(TEXT, max_size=2),
    version=TEXT,
)
def test_a_well_formed_step_of_wrong_values_changes_nothing(
    channel: grpc.Channel,
    http: httpx.Client,
    name: str,
    datatype: str,
    shape: list[int],
    raw: list[bytes],
    listed: list[float],
    parameters: dict[str, Any],
    outputs: list[str],
    version: str,
):
    session = begun(channel)
    asked = request(**parameters)
    if parameters.get("sequence_start") is not True:
        asked.parameters["sequence_id"].int64_param = sequence_of(session)
    asked.model_version = version
    tensor = asked.inputs.add(name=name, datatype=datatype, shape=shape)
    if listed:
        tensor.contents.fp32_contents.extend(listed)
    asked.raw_input_contents.extend(raw)
    for wanted in outputs:
        asked.outputs.add(name=wanted)
    before = standing(http, session)
    done = outcome(channel, "ModelInfer", asked.SerializeToString())
    assert standing(http, session) == before or done == "OK"


@FUZZ
@given(messages=st.lists(st.binary(max_size=200), max_size=6))
def test_bytes_of_any_kind_on_a_stream_each_get_an_answer(
    channel: grpc.Channel, messages: list[bytes]
):
    call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer", None, None)
    answers = [
        service_pb2.ModelStreamInferResponse.FromString(answer)
        for answer in call(iter(messages), timeout=LIMIT_S)
    ]
    assert len(answers) == len(messages)
    for answer in answers:
        assert ": " in answer.error_message
        assert not answer.error_message.startswith("internal")


def test_after_all_of_it_the_server_serves(channel: grpc.Channel):
    session = begun(channel)
    (answer,) = stream(channel)(
        iter([request(rows(1), sequence_id=sequence_of(session))]), timeout=LIMIT_S
    )
    assert answer.infer_response.parameters["step"].int64_param == 2
