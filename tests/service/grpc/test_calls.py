"""Every method but the stream, by Triton's own client, against a real server."""

from __future__ import annotations

import itertools
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from google.protobuf import json_format

from service.grpc.calls import within
from tests.service.grpc.conftest import (
    X,
    Y,
    request,
    rows,
    service_pb2,
    status_of,
    tensor,
    unary,
)

NUMBERS = itertools.count(1000)


@pytest.fixture
def sequence() -> int:
    """An id that no other test of this process takes."""
    return next(NUMBERS)


def as_json(message: Any) -> Any:
    """A message as HTTP tells it."""
    return told(json_format.MessageToDict(message, preserving_proto_field_name=True))


def told(value: Any) -> Any:
    """What JSON says that no default does. 64-bit integers are strings in protobuf's JSON."""
    if isinstance(value, dict):
        return {name: part for name, given in value.items() if (part := told(given))}
    if isinstance(value, list):
        return [told(part) for part in value]
    return int(value) if isinstance(value, str) and value.lstrip("-").isdigit() else value


def step(client: Any, values: np.ndarray, **options: Any) -> Any:
    return client.infer("small", [tensor(values)], **options)


def test_a_server_is_live_and_ready_and_so_are_its_models(client: Any):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("small")
    assert client.is_model_ready("small", "1")
    assert not client.is_model_ready("small", "3")
    assert not client.is_model_ready("large")


@pytest.mark.parametrize(
    ("ask", "path"),
    [
        (lambda c: c.get_server_metadata(), "/v2"),
        (lambda c: c.get_model_metadata("small"), "/v2/models/small"),
        (lambda c: c.get_model_metadata("small", "1"), "/v2/models/small/versions/1"),
        (lambda c: c.get_model_config("small").config, "/v2/models/small/config"),
    ],
    ids=["server", "model", "version", "config"],
)
def test_what_is_told_of_server_and_models_is_what_http_tells(
    client: Any, http: httpx.Client, ask: Any, path: str
):
    assert as_json(ask(client)) == told(http.get(path).json())


def test_statistics_are_those_of_http(client: Any, http: httpx.Client):
    step(client, rows(2)[None])
    counted = as_json(client.get_inference_statistics("small", "2"))
    assert counted == told(http.get("/v2/models/small/versions/2/stats").json())
    (model,) = counted["model_stats"]
    assert model["inference_count"] >= 2
    everything = client.get_inference_statistics().model_stats
    assert {(one.name, one.version) for one in everything} == {("small", "1"), ("small", "2")}


def test_the_repository_is_listed_and_a_version_goes_and_comes_back(client: Any):
    def listed() -> set[tuple[str, ...]]:
        models = client.get_model_repository_index().models
        return {(one.name, one.version, one.state) for one in models}

    both = {("small", "1", "READY"), ("small", "2", "READY")}
    assert listed() == both
    client.unload_model("small")
    assert {state for _, _, state in listed()} == {"UNAVAILABLE"}
    assert not client.is_model_ready("small")
    client.load_model("small")
    assert listed() == both


def test_a_model_comes_from_its_bundle_and_from_no_request(client: Any):
    with pytest.raises(triton.InferenceServerException) as refused:
        client.load_model("small", config='{"max_batch_size": 1}')
    assert status_of(refused.value) == "INVALID_ARGUMENT"
    assert str(refused.value.message()).startswith("invalid_request: ")


def test_rows_of_a_sequence_are_answered_as_a_session_s_steps(
    client: Any, http: httpx.Client, sequence: int
):
    given = rows(6)
    session = http.post("/v1/models/small/sessions").json()["id"]
    steps = http.post(f"/v1/sessions/{session}/steps", json={"inputs": given.tolist()})
    wanted = np.asarray(steps.json()["outputs"], np.float32)
    one = [
        step(client, given[at : at + 1], sequence_id=sequence, sequence_start=at == 0)
        for at in range(3)
    ]
    rest = step(client, given[None, 3:], sequence_id=sequence)
    answered = [answer.as_numpy("y") for answer in one]
    assert [part.shape for part in answered] == [(1, Y)] * 3
    assert rest.as_numpy("y").shape == (1, 3, Y)
    np.testing.assert_array_equal(np.concatenate([*answered, rest.as_numpy("y")[0]]), wanted)


def test_a_stateless_batch_is_answered_as_predictions(client: Any, http: httpx.Client):
    given = rows(6).reshape(2, 3, X)
    answer = step(client, given, request_id="b1")
    assert answer.get_response().id == "b1"
    assert answer.get_response().model_version == "2"
    wanted = [
        http.post("/v1/models/small/predict", json={"inputs": member.tolist()}).json()["outputs"]
        for member in given
    ]
    np.testing.assert_array_equal(answer.as_numpy("y"), np.asarray(wanted, np.float32))
    older = step(client, given, model_version="1")
    assert older.get_response().model_version == "1"
    assert not np.array_equal(older.as_numpy("y"), answer.as_numpy("y"))


def test_a_row_that_is_sent_again_under_its_id_is_answered_again_and_not_run(
    client: Any, http: httpx.Client, sequence: int
):
    given = rows(2)
    step(client, given[:1], sequence_id=sequence, sequence_start=True, request_id="r0")
    first = step(client, given[1:], sequence_id=sequence, request_id="r1")
    again = step(client, given[1:], sequence_id=sequence, request_id="r1")
    np.testing.assert_array_equal(first.as_numpy("y"), again.as_numpy("y"))
    parameters = again.get_response().parameters
    assert parameters["replayed"].bool_param
    session = http.get(f"/v1/sessions/{parameters['session'].string_param}").json()
    assert session["step"] == 2


def test_the_integer_and_the_string_of_its_digits_are_two_sequences(
    client: Any, http: httpx.Client, sequence: int
):
    answers = [
        step(client, rows(1), sequence_id=number, sequence_start=True)
        for number in (sequence, str(sequence))
    ]
    sessions = {a.get_response().parameters["session"].string_param for a in answers}
    assert len(sessions) == 2


def test_a_sequence_ends_with_its_last_row_and_the_next_says_so(client: Any, sequence: int):
    step(client, rows(1), sequence_id=sequence, sequence_start=True, sequence_end=True)
    with pytest.raises(triton.InferenceServerException) as refused:
        step(client, rows(1), sequence_id=sequence)
    assert status_of(refused.value) == "NOT_FOUND"
    assert str(refused.value.message()).startswith("sequence_ended: ")


@pytest.mark.parametrize(
    ("values", "parameters", "status", "code"),
    [
        (rows(1)[:, :3], {}, "INVALID_ARGUMENT", "wrong_shape"),
        (rows(1).ravel(), {}, "INVALID_ARGUMENT", "wrong_shape"),
        (rows(1) * np.float32("nan"), {}, "INVALID_ARGUMENT", "not_finite"),
        (rows(4)[None].repeat(1025, 0), {}, "INVALID_ARGUMENT", "too_many_rows"),
        (None, {}, "INVALID_ARGUMENT", "invalid_request"),
        (rows(1), {"sequence_id": 999_999_999}, "NOT_FOUND", "sequence_not_started"),
        (rows(1), {"sequence_start": True}, "INVALID_ARGUMENT", "invalid_request"),
        (rows(1), {"sequence_id": -7}, "INVALID_ARGUMENT", "invalid_request"),
        (rows(1), {"sequence_id": 0.5}, "INVALID_ARGUMENT", "invalid_request"),
        (rows(1), {"timeout": "soon"}, "INVALID_ARGUMENT", "invalid_request"),
        (rows(2)[:, None], {"sequence_id": 7}, "INVALID_ARGUMENT", "wrong_shape"),
    ],
)
def test_what_cannot_be_run_gets_a_status_and_the_code_of_its_problem(
    channel: grpc.Channel,
    values: np.ndarray | None,
    parameters: dict[str, Any],
    status: str,
    code: str,
):
    with pytest.raises(grpc.RpcError) as refused:
        unary(channel)(request(values, **parameters).SerializeToString(), timeout=30)
    failed: Any = refused.value
    assert failed.code().name == status
    assert failed.details().startswith(f"{code}: ")


@pytest.mark.parametrize("name", ["large", "", "../copy", "x" * 100_000, "\0"])
def test_a_model_that_is_not_loaded_is_not_found(channel: grpc.Channel, name: str):
    with pytest.raises(grpc.RpcError) as refused:
        unary(channel)(request(rows(1), model=name).SerializeToString(), timeout=30)
    failed: Any = refused.value
    assert failed.code().name == "NOT_FOUND"
    assert failed.details().startswith("model_not_found: ")


def test_numbers_in_a_list_are_answered_in_a_list_and_are_the_same(channel: grpc.Channel):
    given = rows(3)[None]
    raw = service_pb2.ModelInferResponse.FromString(
        unary(channel)(request(given).SerializeToString())
    )
    asked = request()
    asked.inputs.add(name="x", datatype="FP32", shape=given.shape).contents.fp32_contents.extend(
        given.ravel().tolist()
    )
    listed = service_pb2.ModelInferResponse.FromString(unary(channel)(asked.SerializeToString()))
    assert list(listed.raw_output_contents) == []
    assert list(listed.outputs[0].shape) == [1, 3, Y]
    np.testing.assert_array_equal(
        np.asarray(listed.outputs[0].contents.fp32_contents, np.float32),
        np.frombuffer(raw.raw_output_contents[0], np.float32),
    )


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_compressed_messages_are_read(client: Any, compression: str):
    given = rows(3)[None]
    plain = step(client, given)
    packed = step(client, given, compression_algorithm=compression)
    np.testing.assert_array_equal(plain.as_numpy("y"), packed.as_numpy("y"))


async def test_the_asynchronous_client_works_as_the_other(address: str, sequence: int):
    given = rows(4)
    client: Any
    async with triton_aio.InferenceServerClient(address) as client:
        assert await client.is_server_ready()
        assert await client.is_model_ready("small")
        whole = await client.infer("small", [tensor(given[None])])
        parts = [
            await client.infer(
                "small", [tensor(given[at : at + 1])], sequence_id=sequence, sequence_start=at == 0
            )
            for at in range(4)
        ]
    np.testing.assert_array_equal(
        np.concatenate([part.as_numpy("y") for part in parts]), whole.as_numpy("y")[0]
    )


@pytest.mark.parametrize(
    ("timeout", "remaining_s", "wanted"),
    [
        (None, None, None),
        (None, 0.25, 250_000),
        (0, 0.25, 250_000),
        (100_000, 0.25, 100_000),
        (400_000, 0.25, 250_000),
        (400_000, None, 400_000),
        (None, 0.0, 1),
        (-5, 0.25, -5),
        ("soon", 0.25, "soon"),
        (True, 0.25, True),
    ],
)
def test_the_sooner_of_deadline_and_timeout_holds(timeout: Any, remaining_s: Any, wanted: Any):
    given = {} if timeout is None else {"timeout": timeout}
    assert within(given | {"priority": 1}, remaining_s).get("timeout") == wanted


def test_methods_of_triton_s_that_are_left_out_are_unimplemented(client: Any):
    for ask in (client.get_trace_settings, client.get_system_shared_memory_status):
        with pytest.raises(triton.InferenceServerException) as refused:
            ask()
        assert status_of(refused.value) == "UNIMPLEMENTED"
