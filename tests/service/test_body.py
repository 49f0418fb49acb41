import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from service import body
from service.errors import (
    BodyTimeout,
    BodyTooLarge,
    ClientGone,
    InvalidJson,
    InvalidRequest,
    NotFinite,
    UnsupportedMediaType,
)
from service.schemas import CreateBody, StepsBody
from service.v2.json_body import InferJson
from tests.service.fake_engine import in_loop

STEPS = msgspec.json.Decoder(StepsBody)
CREATE = msgspec.json.Decoder(CreateBody)


def part(data: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


def receiver(messages: Sequence[dict[str, Any]]) -> tuple[Callable[[], Any], list[Any]]:
    """An ASGI receive that gives these messages, and what is left of them."""
    left = list(messages)

    async def receive() -> dict[str, Any]:
        return left.pop(0)

    return receive, left


@in_loop
async def test_a_body_in_one_part_is_read():
    receive, _ = receiver([part(b"abc")])
    assert await body.read({}, receive, 10, 5.0) == b"abc"


@in_loop
async def test_a_body_in_parts_is_joined():
    receive, _ = receiver([part(b"ab", True), part(b"", True), part(b"c")])
    assert await body.read({}, receive, 3, 5.0) == b"abc"


@in_loop
async def test_a_body_announced_as_too_large_is_refused_unread():
    receive, left = receiver([part(b"a" * 11)])
    with pytest.raises(BodyTooLarge) as caught:
        await body.read({b"content-length": b"11"}, receive, 10, 5.0)
    assert len(left) == 1
    assert caught.value.extra == {"expected": "at most 10 bytes", "got": "11 bytes"}


@pytest.mark.parametrize(
    ("parts", "left_over"),
    [
        ([part(b"a" * 6, True), part(b"a" * 5, True), part(b"a" * 9)], 1),
        ([part(b"a" * 11)], 0),
    ],
)
@in_loop
async def test_a_body_that_grows_too_large_is_refused_where_it_does(
    parts: list[Any], left_over: int
):
    receive, left = receiver(parts)
    with pytest.raises(BodyTooLarge):
        await body.read({}, receive, 10, 5.0)
    assert len(left) == left_over


@in_loop
async def test_a_body_that_does_not_come_is_given_up():
    async def never() -> None:
        await asyncio.Event().wait()

    with pytest.raises(BodyTimeout, match=r"within 0\.01 s"):
        await body.read({}, never, 10, 0.01)


@in_loop
async def test_a_client_that_goes_away_amid_its_body_is_noticed():
    receive, _ = receiver([part(b"ab", True), {"type": "http.disconnect"}])
    with pytest.raises(ClientGone):
        await body.read({}, receive, 10, 5.0)


@pytest.mark.parametrize(
    "kind",
    [b"application/json", b"Application/JSON", b"application/json; charset=utf-8", None],
)
@in_loop
async def test_json_and_no_content_type_are_read(kind: bytes | None):
    receive, _ = receiver([part(b"{}")])
    head = {} if kind is None else {b"content-type": kind}
    assert await body.read(head, receive, 10, 5.0) == b"{}"


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (b"content-type", b"text/plain"),
        (b"content-type", b"application/x-www-form-urlencoded"),
        (b"content-type", b""),
        (b"content-type", b"application/jsonx"),
        (b"content-encoding", b"gzip"),
    ],
)
@in_loop
async def test_another_type_or_encoding_is_refused_naming_it(header: bytes, value: bytes):
    receive, left = receiver([part(b"{}")])
    with pytest.raises(UnsupportedMediaType) as caught:
        await body.read({header: value}, receive, 10, 5.0)
    assert caught.value.extra["got"] == value.decode()
    assert len(left) == 1


@pytest.mark.parametrize(
    ("data", "error", "where", "expected", "got"),
    [
        (b"", InvalidJson, None, "a JSON object", "an empty body"),
        (b'{"inputs": [[1', InvalidJson, None, "a JSON object", "14 bytes: Input data was trunc"),
        (b"\xff\xfe", InvalidJson, None, "a JSON object", "2 bytes: JSON is malformed"),
        (b'{"inputs": [[1]]}}', InvalidJson, None, "a JSON object", "18 bytes: JSON is malformed"),
        (b"[" * 100_000, InvalidRequest, "$", "object", "array"),
        (b'{"inputs":' + b"[" * 100_000, InvalidRequest, "$.inputs[0][0]", "float", "array"),
        (b"[]", InvalidRequest, "$", "object", "array"),
        (b"{}", InvalidRequest, "$", "the field 'inputs'", "none"),
        (b'{"inputs": 1}', InvalidRequest, "$.inputs", "object | array", "int"),
        (b'{"inputs": [1]}', InvalidRequest, "$.inputs[0]", "array", "int"),
        (b'{"inputs": [["1"]]}', InvalidRequest, "$.inputs[0][0]", "float", "str"),
        (b'{"inputs": [[1, true]]}', InvalidRequest, "$.inputs[0][1]", "float", "bool"),
        (b'{"inputs": [[null]]}', InvalidRequest, "$.inputs[0][0]", "float", "null"),
        (b'{"inputs": [], "trace": 1}', InvalidRequest, "$.trace", "bool", "int"),
        (
            b'{"rows": [[1]]}',
            InvalidRequest,
            "$",
            "one of inputs, trace",
            "the unknown field 'rows'",
        ),
        (b'{"inputs": [[1, 1e400]]}', NotFinite, "$.inputs[0][1]", body.FLOAT32, "a number past"),
        (b'{"inputs": [[NaN]]}', NotFinite, "byte 13", body.FLOAT32, "NaN"),
        (b'{"inputs": [[-Infinity]]}', NotFinite, "byte 13", body.FLOAT32, "-Infinity"),
        (b'{"inputs": [[Infinity]]}', NotFinite, "byte 13", body.FLOAT32, "Infinity"),
    ],
    ids=lambda value: value[:24].decode("latin-1") if isinstance(value, bytes) else "",
)
def test_a_body_that_is_not_what_it_should_be_is_refused_naming_expected_and_got(
    data: bytes, error: type[InvalidRequest], where: str | None, expected: str, got: str
):
    with pytest.raises(InvalidRequest) as caught:
        body.decode(STEPS, data)
    assert type(caught.value) is error
    said = caught.value.extra
    assert said["expected"] == expected
    assert said["got"].startswith(got) or got in said["got"]
    assert said.get("where") == where
    assert expected in str(caught.value) and said["got"] in str(caught.value)


def test_a_state_ends_at_as_many_levels_as_a_tensor_may_have_axes():
    assert body.decode(CREATE, b'{"state": {"memory": %s}}' % nested(8)).state
    with pytest.raises(InvalidRequest, match="expected float, got array"):
        body.decode(CREATE, b'{"state": {"memory": %s}}' % nested(9))


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def test_nesting_that_no_type_stops_is_refused_too():
    with pytest.raises(InvalidJson, match="nested too deeply"):
        body.decode(msgspec.json.Decoder(InferJson), b'{"unknown": ' + b"[" * 100_000)


def test_a_string_that_is_no_utf8_is_refused():
    with pytest.raises(InvalidRequest):
        body.decode(CREATE, b'{"id": "\xff\xff"}')


def test_a_fit_body_is_decoded():
    found = body.decode(STEPS, b'{"inputs": [[1, 2.5], [3, -4e-3]], "trace": true}')
    assert found == StepsBody([[1.0, 2.5], [3.0, -0.004]], True)
