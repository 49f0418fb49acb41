"""Clients written for a model of integers, INPUT and OUTPUT, find one here."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http

from service.grpc.convert import infer_request
from service.v2.tensors import rows_of
from tests.service.serving import Server

VALUES = [11, 7, 5, 3, 2, 0, 1]
MODEL = "simple_sequence"


@pytest.fixture
def client(server: Server) -> over_http.InferenceServerClient:
    return over_http.InferenceServerClient(server.url.removeprefix("http://"))


def send(client: over_http.InferenceServerClient, values: list[int], sequence: int | str):
    """Each value as a row of the sequence, and the totals that come back."""
    totals: list[int] = []
    for at, value in enumerate(values):
        row = over_http.InferInput("INPUT", [1, 1], "INT32")
        row.set_data_from_numpy(np.full((1, 1), value, np.int32))
        answer = client.infer(
            MODEL, [row], outputs=[over_http.InferRequestedOutput("OUTPUT")],
            sequence_id=cast(int, sequence),
            sequence_start=at == 0, sequence_end=at == len(values) - 1,
        )  # fmt: skip
        found = answer.as_numpy("OUTPUT")
        assert found is not None
        totals.append(int(found[0][0]))
    return totals


@pytest.mark.parametrize("ids", [(1007, 1008), ("1007", "1008")])
def test_integers_accumulate_in_two_sequences(
    client: over_http.InferenceServerClient, ids: tuple[int | str, int | str]
):
    assert send(client, VALUES, ids[0]) == np.cumsum(VALUES).tolist()
    assert send(client, [100, *(-value for value in VALUES)], ids[1]) == [
        100 - total for total in [0, *np.cumsum(VALUES)]
    ]


def test_the_metadata_has_the_names_that_clients_use(client: over_http.InferenceServerClient):
    found = client.get_model_metadata(MODEL)
    assert [found["inputs"][0]["name"], found["outputs"][0]["name"]] == ["INPUT", "OUTPUT"]


def test_another_name_is_refused_and_changes_nothing(client: over_http.InferenceServerClient):
    send(client, VALUES, 7)
    row = over_http.InferInput("OTHER", [1, 1], "INT32")
    row.set_data_from_numpy(np.ones((1, 1), np.int32))
    with pytest.raises(Exception, match="expected one input, 'INPUT', got"):
        client.infer(MODEL, [row], sequence_id=8, sequence_start=True)
    with pytest.raises(Exception, match="sequence_not_started"):
        row = over_http.InferInput("INPUT", [1, 1], "INT32")
        row.set_data_from_numpy(np.ones((1, 1), np.int32), binary_data=False)
        client.infer(MODEL, [row], sequence_id=8)


def test_a_list_of_integers_in_a_message_is_taken_as_rows():

    messages: Any = over_grpc.service_pb2
    asked = messages.ModelInferRequest(model_name=MODEL)
    asked.inputs.add(name="INPUT", datatype="INT32", shape=[1, 1]).contents.int_contents.append(5)
    rows = rows_of(infer_request(asked).inputs, 3, "INPUT")
    assert np.frombuffer(rows.data, np.float32).tolist() == [5]
