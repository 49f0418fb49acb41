"""One engine path: V1, V2 over HTTP and gRPC answer alike, and take each other's sessions."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from tests.service.grpc.conftest import Y, request, rows, service_pb2, unary
from tests.service.grpc.test_stream import stream

NUMBERS = itertools.count(3000)

# Runs a row of a session: (clients, model's session, row, is it the first) -> outputs (Y,)
Step = Callable[[Any, str, np.ndarray], np.ndarray]


class Clients:
    """One of each protocol, on one server."""

    def __init__(self, http: httpx.Client, channel: grpc.Channel) -> None:
        self.http, self.channel = http, channel

    def v1(self, session: str, row: np.ndarray) -> np.ndarray:
        answer = self.http.post(f"/v1/sessions/{session}/steps", json={"inputs": [row.tolist()]})
        assert answer.status_code == 200, answer.text
        return np.asarray(answer.json()["outputs"][0], np.float32)

    def v2(self, session: str, row: np.ndarray) -> np.ndarray:
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, len(row)], "data": row.tolist()}
        body = {"inputs": [tensor], "parameters": {"sequence_id": session}}
        answer = self.http.post("/v2/models/small/infer", json=body)
        assert answer.status_code == 200, answer.text
        return np.asarray(answer.json()["outputs"][0]["data"], np.float32).ravel()

    def grpc(self, session: str, row: np.ndarray) -> np.ndarray:
        asked = request(row[None], sequence_id=session).SerializeToString()
        answer = service_pb2.ModelInferResponse.FromString(unary(self.channel)(asked))
        return np.frombuffer(answer.raw_output_contents[0], np.float32)

    def grpc_stream(self, session: str, row: np.ndarray) -> np.ndarray:
        (answer,) = stream(self.channel)(iter([request(row[None], sequence_id=session)]))
        assert answer.error_message == ""
        return np.frombuffer(answer.infer_response.raw_output_contents[0], np.float32)


PROTOCOLS: list[Step] = [Clients.v1, Clients.v2, Clients.grpc, Clients.grpc_stream]


@pytest.fixture
def clients(http: httpx.Client, channel: grpc.Channel) -> Clients:
    return Clients(http, channel)


def created(http: httpx.Client) -> str:
    return http.post("/v1/models/small/sessions").json()["id"]


def test_every_protocol_answers_the_same_rows_alike(clients: Clients):
    given = rows(9)
    answers = []
    for step in PROTOCOLS:
        session = created(clients.http)
        answers.append(np.stack([step(clients, session, row) for row in given]))
    assert answers[0].shape == (9, Y)
    for other in answers[1:]:
        np.testing.assert_array_equal(other, answers[0])


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
def test_a_session_goes_on_through_another_protocol(clients: Clients, order: tuple[int, ...]):
    given = rows(8)
    session, alone = created(clients.http), created(clients.http)
    mixed = [PROTOCOLS[order[at % 4]](clients, session, row) for at, row in enumerate(given)]
    wanted = [clients.v1(alone, row) for row in given]
    np.testing.assert_array_equal(np.stack(mixed), np.stack(wanted))
    assert clients.http.get(f"/v1/sessions/{session}").json()["step"] == 8


def test_a_sequence_that_grpc_began_is_a_session_for_v1_and_goes_on_over_http(clients: Clients):
    given, sequence = rows(3), next(NUMBERS)
    asked = request(given[:1], sequence_id=sequence, sequence_start=True).SerializeToString()
    first = service_pb2.ModelInferResponse.FromString(unary(clients.channel)(asked))
    session = first.parameters["session"].string_param
    listed = clients.http.get("/v1/sessions", params={"limit": 1000}).json()["sessions"]
    assert session in {one["id"] for one in listed}
    second = clients.v1(session, given[1])
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 7], "data": given[2].tolist()}
    body = {"inputs": [tensor], "parameters": {"sequence_id": sequence, "sequence_end": True}}
    third = clients.http.post("/v2/models/small/infer", json=body).json()
    alone = created(clients.http)
    wanted = [clients.v1(alone, row) for row in given]
    np.testing.assert_array_equal(
        np.frombuffer(first.raw_output_contents[0], np.float32), wanted[0]
    )
    np.testing.assert_array_equal(second, wanted[1])
    np.testing.assert_array_equal(
        np.asarray(third["outputs"][0]["data"], np.float32).ravel(), wanted[2]
    )
    assert clients.http.get(f"/v1/sessions/{session}").status_code in (404, 410)
