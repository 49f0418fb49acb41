"""How urgent a request says it is, in the words of /v1 and of V2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service import urgency
from service.errors import InvalidRequest
from service.requests import URGENCY, Predict, Sequence, Steps
from service.results import PredictResult, StepsResult
from tests.service.fake_engine import in_loop
from tests.service.fronting import fronting
from tests.service.serving import ROW


@pytest.mark.parametrize(
    ("said", "is_"),
    [
        (b"u=0", 0), (b"u=7", 7), (b"u=5, i", 5), (b"i, u=1", 1), (b"i,u=2;x=9", 2),
        (b"", URGENCY), (b"i", URGENCY), (b"u=8", URGENCY), (b"u=-1", URGENCY),
        (b"u=12", URGENCY), (b"menu=1", URGENCY), (b"\xff", URGENCY),
    ],
)  # fmt: skip
def test_a_header_says_it_and_one_that_cannot_be_read_says_nothing(said: bytes, is_: int):
    assert urgency.of({b"priority": said}) == is_
    assert urgency.of({}) == URGENCY


@pytest.mark.parametrize(("value", "is_"), [(0, URGENCY), (1, 0), (2, 1), (8, 7), (10**12, 7)])
def test_a_parameter_of_v2_counts_from_1(value: int, is_: int):
    assert urgency.of_parameter({"priority": value}) == is_
    assert urgency.of_parameter({}) == URGENCY


@pytest.mark.parametrize("value", [-1, True, "1", 1.5, None])
def test_a_parameter_that_is_no_count_is_refused(value: Any):
    with pytest.raises(InvalidRequest, match="priority"):
        urgency.of_parameter({"priority": value})


@in_loop
async def test_every_way_into_the_queue_brings_it_to_the_engine(tmp_path: Path):
    done = StepsResult(bytes(32), (1, 8), 1, 2, "8kq3", None, False, "abc", "1")
    async with fronting(tmp_path) as running, running.client() as client:
        running.engine.granted |= {
            Steps: done, Sequence: done, Predict: PredictResult(bytes(32), (1, 8), "1")
        }  # fmt: skip
        v1, urgent = {"inputs": [ROW]}, {"priority": "u=1"}
        await client.post("/v1/sessions/abc/steps", json=v1, headers=urgent)
        apps = urgent | {"expect": "100-continue"}
        await client.post("/v1/sessions/abc/steps", json=v1, headers=apps)
        await client.post("/v1/models/copy/predict", json=v1, headers=urgent)
        tensor = {"name": "x", "shape": [1, 9], "datatype": "FP32", "data": ROW}
        for sequence in ({"sequence_id": 7}, {}):
            body = {"inputs": [tensor], "parameters": {"priority": 2} | sequence}
            await client.post("/v2/models/copy/infer", json=body)
        asked = [call.request for call in running.engine.calls]
        found = [one.steps if isinstance(one, Sequence) else one for one in asked]
        kinds = [type(one) for one in found]
        assert kinds == [Steps, Steps, Predict, Steps, Predict]
        assert [one.urgency for one in found if isinstance(one, Steps | Predict)] == [1] * 5
