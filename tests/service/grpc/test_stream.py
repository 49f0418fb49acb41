"""ModelStreamInfer, by Triton's own clients, sync and aio, against a real server."""

from __future__ import annotations

import asyncio
import itertools
import queue
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc.aio as triton_aio

from service.grpc.stream import IN_FLIGHT
from tests.service.grpc.conftest import request, rows, service_pb2, tensor
from tests.service.serving import until

WAIT_S = 60
NUMBERS = itertools.count(2000)
MANY = 5 * IN_FLIGHT


def stream(channel: Any) -> Any:
    """The method, as messages of Triton's client package."""
    return channel.stream_stream(
        "/inference.GRPCInferenceService/ModelStreamInfer",
        service_pb2.ModelInferRequest.SerializeToString,
        service_pb2.ModelStreamInferResponse.FromString,
    )


def first_and_next(given: np.ndarray, sequence: int | str) -> list[Any]:
    """One request a row."""
    return [
        request(row[None], sequence_id=sequence, sequence_start=at == 0)
        for at, row in enumerate(given)
    ]


def predicted(http: httpx.Client, given: np.ndarray) -> np.ndarray:
    """What the rows give from fresh state."""
    answer = http.post("/v1/models/small/predict", json={"inputs": given.tolist()})
    return np.asarray(answer.json()["outputs"], np.float32)


def outputs(answers: list[Any]) -> np.ndarray:
    assert [answer.error_message for answer in answers] == [""] * len(answers)
    return np.stack(
        [np.frombuffer(a.infer_response.raw_output_contents[0], np.float32) for a in answers]
    )


def test_rows_sent_at_once_are_answered_in_their_order(client: Any, http: httpx.Client):
    given, sequence = rows(MANY), next(NUMBERS)
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for at, row in enumerate(given):
        client.async_stream_infer(
            "small", [tensor(row[None])], request_id=f"r{at}", sequence_id=sequence,
            sequence_start=at == 0, sequence_end=at == MANY - 1,
        )  # fmt: skip
    client.stop_stream()
    got = [answers.get(timeout=WAIT_S) for _ in given]
    assert [error for _, error in got] == [None] * MANY
    assert [result.get_response().id for result, _ in got] == [f"r{at}" for at in range(MANY)]
    np.testing.assert_array_equal(
        np.concatenate([result.as_numpy("y") for result, _ in got]), predicted(http, given)
    )


async def test_the_asynchronous_client_streams_two_sequences_at_a_time(
    address: str, http: httpx.Client
):
    given, numbers = rows(8), (next(NUMBERS), f"s{next(NUMBERS)}")

    async def asked() -> AsyncIterator[dict[str, Any]]:
        for at, row in enumerate(given):
            for number in numbers:
                yield {
                    "model_name": "small", "inputs": [tensor(row[None])], "sequence_id": number,
                    "sequence_start": at == 0, "request_id": f"{number} {at}",
                }  # fmt: skip

    client: Any
    async with triton_aio.InferenceServerClient(address) as client:
        got = [answer async for answer in client.stream_infer(asked())]
    assert [error for _, error in got] == [None] * 16
    for of_one, number in enumerate(numbers):
        mine = [result for result, _ in got][of_one::2]
        assert [r.get_response().id for r in mine] == [f"{number} {at}" for at in range(8)]
        np.testing.assert_array_equal(
            np.concatenate([r.as_numpy("y") for r in mine]), predicted(http, given)
        )


def test_a_request_that_cannot_be_run_is_answered_and_the_stream_goes_on(
    channel: grpc.Channel, http: httpx.Client
):
    given, sequence = rows(3), next(NUMBERS)
    asked = first_and_next(given, sequence)
    bad = request(given[:1, :2], sequence_id=sequence)
    bad.id = "the bad one"
    first, failed, *rest = stream(channel)(iter([asked[0], bad, *asked[1:]]), timeout=WAIT_S)
    assert failed.error_message.startswith("wrong_shape: ")
    assert failed.infer_response.id == "the bad one"
    np.testing.assert_array_equal(outputs([first, *rest]), predicted(http, given))


def test_the_one_answer_of_a_request_is_told_to_be_its_last(channel: grpc.Channel):
    (answer,) = stream(channel)(iter([request(rows(1))]), timeout=WAIT_S)
    assert answer.infer_response.parameters["triton_final_response"].bool_param


def test_a_client_that_reads_late_gets_every_answer(channel: grpc.Channel, http: httpx.Client):
    given = rows(MANY)
    asked = iter(first_and_next(given, next(NUMBERS)))
    taken: list[Any] = []

    def counted() -> Any:
        for one in asked:
            taken.append(one)
            yield one

    call = stream(channel)(counted(), timeout=WAIT_S)
    until(lambda: len(taken) > IN_FLIGHT)
    np.testing.assert_array_equal(outputs(list(call)), predicted(http, given))


def test_a_cancelled_stream_leaves_the_session_at_a_row_that_was_run_whole(
    channel: grpc.Channel, http: httpx.Client
):
    given, sequence = rows(MANY), next(NUMBERS)
    call = stream(channel)(iter(first_and_next(given, sequence)), timeout=WAIT_S)
    seen = [next(call) for _ in range(3)]
    call.cancel()
    session = f"/v1/sessions/v2~small~int~{sequence}"
    steps: list[int] = []

    def settled() -> bool:
        steps.append(http.get(session).json()["step"])
        return len(steps) > 5 and len(set(steps[-5:])) == 1

    until(settled)
    done = steps[-1]
    assert 3 <= done <= MANY
    wanted = predicted(http, given)
    np.testing.assert_array_equal(outputs(seen), wanted[:3])
    if done < MANY:
        (after,) = stream(channel)(iter([request(given[done][None], sequence_id=sequence)]))
        np.testing.assert_array_equal(outputs([after]), wanted[done : done + 1])


def test_a_stream_that_says_nothing_ends_well(channel: grpc.Channel):
    assert list(stream(channel)(iter([]), timeout=WAIT_S)) == []


def test_many_streams_at_a_time_do_not_mix(address: str, http: httpx.Client):
    async def one(channel: grpc.aio.Channel, seed: int) -> np.ndarray:
        call = stream(channel)(iter(first_and_next(rows(20, seed), next(NUMBERS))))
        return outputs([answer async for answer in call])

    async def all_of_them() -> list[np.ndarray]:
        async with grpc.aio.insecure_channel(address) as channel:
            return await asyncio.gather(*(one(channel, seed) for seed in range(12)))

    for seed, got in enumerate(asyncio.run(all_of_them())):
        np.testing.assert_array_equal(got, predicted(http, rows(20, seed)))


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\x0a\xff"])
def test_bytes_that_are_no_request_are_an_error_of_the_stream_s_answer(
    channel: grpc.Channel, data: bytes
):
    call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer", None, None)
    good = request(rows(1)).SerializeToString()
    bad, fine = (
        service_pb2.ModelStreamInferResponse.FromString(answer)
        for answer in call(iter([data, good]), timeout=WAIT_S)
    )
    assert bad.error_message.startswith("invalid_request: the message: ")
    assert fine.error_message == ""
