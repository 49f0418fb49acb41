from __future__ import annotations

import pytest
from grpc import StatusCode

from service.errors import (
    InvalidRequest,
    NtmError,
    QueueFull,
    SessionExists,
    StateDamaged,
    codes,
)
from service.grpc.status import MAX_DETAILS_BYTES, details_of, status_of


@pytest.mark.parametrize(("code", "kind"), sorted(codes().items()))
def test_every_error_has_a_status_and_tells_its_code(code: str, kind: type[NtmError]):
    status = status_of(kind("something"))
    assert status not in (StatusCode.OK, StatusCode.UNKNOWN)
    assert details_of(kind("something")) == f"{code}: something"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidRequest, StatusCode.INVALID_ARGUMENT),
        (QueueFull, StatusCode.RESOURCE_EXHAUSTED),
        (SessionExists, StatusCode.ALREADY_EXISTS),
        (StateDamaged, StatusCode.DATA_LOSS),
    ],
)
def test_errors_have_the_status_that_clients_act_on(error: type[NtmError], status: StatusCode):
    assert status_of(error("something")) is status


def test_only_a_defect_of_the_server_is_internal():
    internal = [
        code for code, kind in codes().items() if status_of(kind("")) is StatusCode.INTERNAL
    ]
    assert internal == ["internal"]


@pytest.mark.parametrize("text", ["x" * 10_000, "é" * 10_000, "\ud800" * 10_000, "🐟" * 700])
def test_details_are_cut_to_what_a_client_takes(text: str):
    details = details_of(InvalidRequest(text))
    assert len(details.encode()) <= MAX_DETAILS_BYTES + 3
    assert details.startswith("invalid_request: ")
    assert details.endswith("...")
