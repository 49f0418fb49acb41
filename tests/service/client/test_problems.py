from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from service.client import problems
from service.client.errors import Problem


def test_problem_details_are_read_member_by_member():
    body = (
        b'{"type":"urn:x","title":"T","status":400,"detail":"D","code":"wrong_shape",'
        b'"request_id":"r","expected":9,"got":"8","where":"$.inputs"}'
    )
    assert problems.problem_of(400, body) == Problem(
        400, "D", "wrong_shape", "r", 9, "8", "$.inputs"
    )


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "HTTP 502"),
        (b"<p>Bad\n\n gateway", "HTTP 502: <p>Bad gateway"),
        (b"[1, 2]", "HTTP 502: [1, 2]"),
        (b'{"detail": 7, "code": null, "where": {}}', "HTTP 502"),
        (b'{"title": "Away"}', "Away"),
        (b"\xff\xfe{", "HTTP 502: \ufffd\ufffd{"),
    ],
)
def test_what_is_no_problem_details_is_told_as_far_as_it_goes(body: bytes, detail: str):
    assert problems.problem_of(502, body, "r7") == Problem(502, detail, "", "r7")


def test_a_long_page_is_cut():
    assert len(problems.problem_of(500, b"x" * 9999).detail) < 300


def test_a_request_id_of_the_headers_serves_where_the_body_has_none():
    error = problems.error_of(500, {"x-request-id": "r9", "retry-after": "1.5"}, b"oops")
    assert (error.request_id, error.retry_after_s) == ("r9", 1.5)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("", 0), ("7", 7), ("0.25", 0.25), ("-3", 0), ("soon", 0), ("nan", 0), ("1e99", 86_400)],
)
def test_retry_after_in_seconds(value: str, seconds: float):
    assert problems.retry_after(value) == seconds


def test_retry_after_as_a_date():
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=50), usegmt=True)
    assert 40 < problems.retry_after(date) <= 50
    assert problems.retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert problems.retry_after("Wed, 21 Oct 2015 07:28:00") == 0  # names no zone
