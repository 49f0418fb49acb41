import pytest

from service import guards
from service.errors import InvalidRequest
from service.requests import Guard


def test_without_headers_nothing_is_conditional():
    assert guards.of({b"host": b"x"}, b"POST") == Guard()


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        (b'"8kq3-2"', "8kq3-2"),
        (b' "8kq3-2" ', "8kq3-2"),
        (b'W/"8kq3-2"', "W/8kq3-2"),
        (b'""', ""),
        (b"*", None),
    ],
)
def test_if_match_is_the_tag_between_its_quotes(value: bytes, tag: str | None):
    assert guards.of({b"if-match": value}).if_match == tag


@pytest.mark.parametrize(
    "value", [b"8kq3-2", b'"a', b'"a" "b"', b'"a", "b"', b'w/"a"', b'"\xe4"', b'"a b"', b""]
)
def test_an_if_match_that_is_no_single_tag_is_refused(value: bytes):
    with pytest.raises(InvalidRequest, match="If-Match: expected one entity tag in quotes"):
        guards.of({b"if-match": value})


@pytest.mark.parametrize("key", [b"a", b"~" * 255, b'"8e03978e-40d5"', b"a,b;c=d"])
def test_a_key_of_visible_ascii_is_taken_as_it_is(key: bytes):
    assert guards.of({b"idempotency-key": key}, b"POST").key == key.decode()


@pytest.mark.parametrize("key", [b"", b"~" * 256, b"a b", b"a\tb", b"\xc3\xa4", b"a\x7f"])
def test_any_other_key_is_refused(key: bytes):
    with pytest.raises(InvalidRequest, match="Idempotency-Key: expected 1 to 255 visible ASCII"):
        guards.of({b"idempotency-key": key}, b"POST")


def test_the_fingerprint_is_of_what_is_said_and_of_where_each_part_ends():
    key = {b"idempotency-key": b"k"}
    first = guards.of(key, b"POST", b"/v1/a", b"rows").fingerprint
    assert first == guards.of(key, b"POST", b"/v1/a", b"rows").fingerprint
    assert len(first) == guards.FINGERPRINT_BYTES
    for said in [
        (b"POST", b"/v1/a", b"rowz"),
        (b"POST", b"/v1/b", b"rows"),
        (b"PUT", b"/v1/a", b"rows"),
        (b"POST", b"/v1/ar", b"ows"),
        (b"POST", b"/v1/a", b"rows", b""),
    ]:
        assert guards.of(key, *said).fingerprint != first, said


def test_no_fingerprint_is_made_where_there_is_no_key():
    assert guards.of({b"if-match": b'"a-1"'}, b"POST", b"rows").fingerprint == b""


def test_an_etag_carries_incarnation_and_revision_and_is_a_fit_if_match():
    tag = guards.etag("8kq3", 2)
    assert tag == '"8kq3-2"'
    assert guards.of({b"if-match": tag.encode()}).if_match == "8kq3-2"
