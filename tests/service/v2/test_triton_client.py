"""Triton's own client, synchronous and asyncio, on the same sessions as /v1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests.service.serving import Server
from tests.service.v2.conftest import bits, inputs_of, number

Client = Any  # its annotations are narrower than what it takes: string ids, for one


def fresh() -> str:
    """A sequence id that no other test has."""
    return f"of-{uuid4().hex[:12]}"


def fresh_integer() -> int:
    return uuid4().int % 2**64 or 1


def refusal(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(InferenceServerException) as raised:
        call(*arguments, **options)
    return raised.value.message()


def accumulate(client: Client, values: Sequence[float], sequence: int | str) -> list[float]:
    """Send a sequence's values one by one, first and last flagged; the totals that come back."""
    totals: list[float] = []
    for at, value in enumerate(values):
        result = client.infer(
            "accumulator",
            inputs_of(number(value)),
            outputs=[triton.InferRequestedOutput("y")],
            sequence_id=sequence,
            sequence_start=at == 0,
            sequence_end=at == len(values) - 1,
        )
        totals.append(float(result.as_numpy("y")[0][0]))
    return totals


def test_the_server_tells_what_it_is_and_what_it_has(tritonclient: Client):
    assert tritonclient.is_server_live() and tritonclient.is_server_ready()
    server = tritonclient.get_server_metadata()
    assert server["name"] == "ntm-serve"
    assert {"binary_tensor_data", "sequence", "sequence(string_id)"} <= set(server["extensions"])
    model = tritonclient.get_model_metadata("copy")
    assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 9]}]
    assert model["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 8]}]
    assert tritonclient.get_model_metadata("small")["versions"] == ["1", "2"]
    assert tritonclient.get_model_metadata("small", "1")["versions"] == ["1"]
    assert tritonclient.is_model_ready("small", "2")
    assert not tritonclient.is_model_ready("small", "3")
    assert not tritonclient.is_model_ready("none")


def test_the_configuration_has_the_state_that_a_sequence_keeps(tritonclient: Client):
    config = tritonclient.get_model_config("accumulator")
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [1]}]
    assert config["output"] == [{"name": "y", "data_type": "TYPE_FP32", "dims": [1]}]
    (state,) = config["sequence_batching"]["state"]
    assert (state["input_name"], state["output_name"]) == ("total", "total_next")


@pytest.mark.parametrize("binary_in", [True, False], ids=["binary in", "JSON in"])
@pytest.mark.parametrize("binary_out", [True, False], ids=["binary out", "JSON out"])
def test_numbers_are_the_same_in_binary_and_in_json_and_on_v1(
    tritonclient: Client, client: httpx.Client, binary_in: bool, binary_out: bool
):
    rows = bits(3, 1, 5)
    result = tritonclient.infer(
        "copy",
        inputs_of(rows, binary_in),
        outputs=[triton.InferRequestedOutput("y", binary_data=binary_out)],
    )
    v1 = client.post("/v1/models/copy/predict", json={"inputs": rows[0].tolist()}).json()
    assert result.as_numpy("y").shape == (1, 5, 8)
    assert result.as_numpy("y")[0].tobytes() == np.array(v1["outputs"], np.float32).tobytes()


@pytest.mark.parametrize("shape", [(3,), (3, 5)], ids=["[B, X]", "[B, T, X]"])
def test_each_member_of_a_batch_begins_from_fresh_state(
    tritonclient: Client, shape: tuple[int, ...]
):
    rows = bits(4, *shape)
    together = tritonclient.infer("copy", inputs_of(rows)).as_numpy("y")
    assert together.shape == (*shape, 8)
    for at, member in enumerate(rows):
        alone = tritonclient.infer("copy", inputs_of(member[None])).as_numpy("y")
        assert alone[0].tobytes() == together[at].tobytes()


def test_a_batch_larger_than_what_waits_at_a_time_is_whole(tritonclient: Client):
    rows = np.arange(150, dtype=np.float32)[:, None]
    result = tritonclient.infer("accumulator", inputs_of(rows))
    assert result.as_numpy("y").tolist() == rows.tolist()


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_bodies_are_compressed_both_ways(tritonclient: Client, coding: str):
    rows = bits(5, 1, 5)
    plain = tritonclient.infer("copy", inputs_of(rows)).as_numpy("y")
    result = tritonclient.infer(
        "copy",
        inputs_of(rows),
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )
    assert result.as_numpy("y").tobytes() == plain.tobytes()


def test_two_sequences_accumulate_side_by_side(tritonclient: Client):
    first, second = fresh_integer(), fresh()
    values, other = [11, 7, 5, 3, 2, 0, 1], [-value for value in [11, 7, 5, 3, 2, 0, 1]]
    totals: dict[int | str, list[float]] = {first: [], second: []}
    for at in range(len(values)):
        for sequence, numbers in ((first, values), (second, other)):
            result = tritonclient.infer(
                "accumulator",
                inputs_of(number(numbers[at])),
                outputs=[triton.InferRequestedOutput("y")],
                request_id=f"{sequence}_{at}",
                sequence_id=sequence,
                sequence_start=at == 0,
                sequence_end=at == len(values) - 1,
            )
            totals[sequence].append(float(result.as_numpy("y")[0][0]))
    assert totals[first] == np.cumsum(values).tolist()
    assert totals[second] == np.cumsum(other).tolist()


def test_the_same_run_can_be_made_again(tritonclient: Client):
    sequence = fresh_integer()
    assert accumulate(tritonclient, [5, 7, 11], sequence) == [5, 12, 23]
    assert accumulate(tritonclient, [2, 3], sequence) == [2, 5]


def test_the_integer_7_and_the_string_7_are_two_sequences(
    tritonclient: Client, client: httpx.Client
):
    seven = fresh_integer()
    for sequence, value in ((seven, 100), (str(seven), 200)):
        tritonclient.infer(
            "accumulator", inputs_of(number(value)), sequence_id=sequence, sequence_start=True
        )
    for sequence, total in ((seven, 101), (str(seven), 201)):
        result = tritonclient.infer(
            "accumulator", inputs_of(number(1)), sequence_id=sequence, sequence_end=True
        )
        assert result.as_numpy("y").tolist() == [[total]]


def test_many_rows_of_a_sequence_come_in_one_request(tritonclient: Client):
    sequence = fresh()
    rows = np.array([[[1], [2], [3], [4]]], np.float32)
    result = tritonclient.infer(
        "accumulator", inputs_of(rows), sequence_id=sequence, sequence_start=True
    )
    assert result.as_numpy("y").tolist() == [[[1], [3], [6], [10]]]
    assert result.get_response()["parameters"]["step"] == 4


def test_a_sequence_is_a_session_of_v1_and_goes_on_there(
    tritonclient: Client, client: httpx.Client
):
    sequence = fresh()
    first = tritonclient.infer(
        "copy", inputs_of(bits(6, 1)), sequence_id=sequence, sequence_start=True
    ).get_response()
    session = first["parameters"]["session"]
    assert session == f"v2~copy~string~{sequence}"
    listed = client.get("/v1/sessions", params={"limit": 1000, "model": "copy"}).json()
    assert session in [one["id"] for one in listed["sessions"]]
    row = bits(7, 1)
    v1 = client.post(f"/v1/sessions/{session}/steps", json={"inputs": row.tolist()}).json()
    assert (v1["step"], v1["revision"]) == (2, 3)
    last = tritonclient.infer(
        "copy", inputs_of(bits(8, 1)), sequence_id=sequence, sequence_end=True
    )
    assert last.get_response()["parameters"]["step"] == 3
    assert client.get(f"/v1/sessions/{session}").status_code == 404


def test_a_session_of_v1_goes_on_under_its_own_id(tritonclient: Client, client: httpx.Client):
    name, twin = fresh(), fresh()
    for session in (name, twin):
        client.post("/v1/models/copy/sessions", json={"id": session}).raise_for_status()
    rows = bits(9, 4)
    wanted = client.post(f"/v1/sessions/{twin}/steps", json={"inputs": rows.tolist()}).json()
    got: list[Any] = []
    for at, row in enumerate(rows):
        if at % 2:
            result = tritonclient.infer("copy", inputs_of(row[None]), sequence_id=name)
            got += result.as_numpy("y").tolist()
        else:
            steps = client.post(f"/v1/sessions/{name}/steps", json={"inputs": [row.tolist()]})
            got += steps.json()["outputs"]
    assert got == wanted["outputs"]
    assert client.get(f"/v1/sessions/{name}").json()["step"] == 4
    said = refusal(tritonclient.infer, "accumulator", inputs_of(number(1)), sequence_id=name)
    assert said.startswith("sequence_not_started: ")


def test_a_start_on_a_live_id_begins_it_anew(tritonclient: Client, client: httpx.Client):
    sequence = fresh()
    session = f"/v1/sessions/v2~accumulator~string~{sequence}"
    row = inputs_of(number(5))
    tritonclient.infer("accumulator", row, sequence_id=sequence, sequence_start=True)
    tritonclient.infer("accumulator", row, sequence_id=sequence)
    before = client.get(session).json()
    result = tritonclient.infer("accumulator", row, sequence_id=sequence, sequence_start=True)
    assert result.as_numpy("y").tolist() == [[5]]
    after = client.get(session).json()
    assert (before["step"], after["step"], after["revision"]) == (2, 1, 2)
    assert after["incarnation"] != before["incarnation"]


def test_a_row_without_a_start_an_ended_and_an_expired_sequence_are_told_apart(
    tritonclient: Client, client: httpx.Client
):
    row, sequence = inputs_of(number(1)), fresh()
    said = refusal(tritonclient.infer, "accumulator", row, sequence_id=sequence)
    assert said.startswith("sequence_not_started: ") and repr(sequence) in said
    accumulate(tritonclient, [1, 2], sequence)
    for options in ({}, {"sequence_end": True}):
        said = refusal(tritonclient.infer, "accumulator", row, sequence_id=sequence, **options)
        assert said.startswith("sequence_ended: ") and repr(sequence) in said


def test_a_session_deleted_on_v1_is_an_ended_sequence(tritonclient: Client, client: httpx.Client):
    row, sequence = inputs_of(number(1)), fresh()
    tritonclient.infer("accumulator", row, sequence_id=sequence, sequence_start=True)
    assert client.delete(f"/v1/sessions/v2~accumulator~string~{sequence}").status_code == 204
    said = refusal(tritonclient.infer, "accumulator", row, sequence_id=sequence)
    assert said.startswith("sequence_ended: ")


@pytest.mark.parametrize("flags", [(True, False), (False, False), (False, True), (True, True)])
def test_a_retried_row_is_known_by_its_request_id(tritonclient: Client, flags: tuple[bool, bool]):
    start, end = flags
    sequence = fresh()
    if not start:
        tritonclient.infer(
            "accumulator", inputs_of(number(10)), sequence_id=sequence, sequence_start=True
        )
    answers = [
        tritonclient.infer(
            "accumulator",
            inputs_of(number(3)),
            request_id="the only one",
            sequence_id=sequence,
            sequence_start=start,
            sequence_end=end,
        )
        for _ in range(3)
    ]
    assert [answer.as_numpy("y").tolist() for answer in answers] == [[[3 if start else 13]]] * 3
    told = [answer.get_response()["parameters"] for answer in answers]
    assert [one["replayed"] for one in told] == [False, True, True]
    assert {(one["step"], one["revision"]) for one in told} == {(1, 2) if start else (2, 3)}


def test_a_request_id_that_comes_with_another_row_is_refused(tritonclient: Client):
    sequence = fresh()
    for value, start in ((1, True), (2, False)):
        tritonclient.infer(
            "accumulator",
            inputs_of(number(value)),
            request_id=f"r{value}",
            sequence_id=sequence,
            sequence_start=start,
        )
    said = refusal(
        tritonclient.infer,
        "accumulator",
        inputs_of(number(5)),
        request_id="r2",
        sequence_id=sequence,
    )
    assert said.startswith("key_reused: ") and "'r2'" in said


def test_a_version_is_the_sequences_own_from_its_start(tritonclient: Client):
    sequence, row = fresh(), inputs_of(np.ones((1, 7), np.float32))
    first = tritonclient.infer(
        "small", row, model_version="1", sequence_id=sequence, sequence_start=True
    )
    assert first.get_response()["model_version"] == "1"
    assert tritonclient.infer("small", row, sequence_id=sequence).get_response()[
        "model_version"
    ] == ("1")
    said = refusal(tritonclient.infer, "small", row, model_version="2", sequence_id=sequence)
    assert said.startswith("invalid_request: ") and "version 1" in said
    again = tritonclient.infer("small", row, sequence_id=sequence, sequence_start=True)
    assert again.get_response()["model_version"] == "2"
    assert again.get_response()["parameters"]["step"] == 1


def test_statistics_count_rows_and_batches(tritonclient: Client):
    def counted() -> dict[str, Any]:
        (stats,) = tritonclient.get_inference_statistics("accumulator")["model_stats"]
        return stats

    before = counted()
    tritonclient.infer("accumulator", inputs_of(np.ones((1, 6, 1), np.float32)))
    refusal(tritonclient.infer, "accumulator", inputs_of(np.ones((1, 2), np.float32)))
    after = counted()
    assert after["inference_count"] - before["inference_count"] == 6
    assert after["execution_count"] - before["execution_count"] == 6
    counts = [one["inference_stats"]["success"]["count"] for one in (before, after)]
    assert counts[1] - counts[0] == 1
    assert after["inference_stats"]["compute_infer"]["ns"] > 0
    sizes = [one["batch_size"] for one in after["batch_stats"]]
    assert sizes == sorted(sizes) and 1 in sizes
    everyone = tritonclient.get_inference_statistics()["model_stats"]
    assert ("small", "2") in [(one["name"], one["version"]) for one in everyone]


def test_the_asyncio_client_runs_many_sequences_at_once(server: Server):
    import asyncio

    async def accumulated(client: Any, sequence: str) -> list[float]:
        totals: list[float] = []
        for at in range(6):
            result = await client.infer(
                "accumulator",
                inputs_of(number(at + 1)),
                sequence_id=sequence,
                sequence_start=at == 0,
                sequence_end=at == 5,
            )
            totals.append(float(result.as_numpy("y")[0][0]))
        return totals

    async def all_of_them() -> list[list[float]]:
        url = server.url.removeprefix("http://")
        async with triton_aio.InferenceServerClient(url) as client:
            assert await client.is_server_ready()
            return await asyncio.gather(*(accumulated(client, fresh()) for _ in range(20)))

    assert asyncio.run(all_of_them()) == [[1, 3, 6, 10, 15, 21]] * 20


def test_the_repository_is_listed_unloaded_and_loaded_again(tritonclient: Client):
    def state_of(name: str) -> list[tuple[str, str]]:
        listed = tritonclient.get_model_repository_index()
        return [(one["version"], one["state"]) for one in listed if one["name"] == name]

    sequence, row = fresh(), inputs_of(np.ones((1, 7), np.float32))
    tritonclient.infer("small", row, sequence_id=sequence, sequence_start=True)
    assert state_of("small") == [("1", "READY"), ("2", "READY")]
    said = refusal(tritonclient.unload_model, "small")
    assert said.startswith("version_in_use: ")
    assert state_of("small") == [("1", "READY"), ("2", "READY")]
