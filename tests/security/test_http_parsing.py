"""Requests that two parsers could read in two ways, and floods of what frames a body."""

import time

import httpx
import pytest

from tests.security.wire import exchange, statuses
from tests.service.serving import Server, memory_of

ROWS = b'{"inputs":[[0,0,0,0,0,0,0,0,0]]}'
POST = (
    b"POST /v1/models/copy/predict HTTP/1.1\r\nhost: localhost\r\n"
    b"content-type: application/json\r\n"
)
NEXT = (
    b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"  # what is smuggled
)
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
WHOLE = b"%x\r\n%b\r\n0\r\n\r\n" % (len(ROWS), ROWS)


def length(value: bytes, name: bytes = b"content-length") -> bytes:
    return POST + name + b": " + value + b"\r\n\r\n" + ROWS


AMBIGUOUS = {
    "length and chunks": POST + b"content-length: 32\r\ntransfer-encoding: chunked\r\n\r\n" + WHOLE,
    "chunks and length": POST + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"content-length: 32\r\ncontent-length: 33\r\n\r\n" + ROWS,
    "a list of lengths": length(b"32, 32"),
    "a signed length": length(b"+32"),
    "a negative length": length(b"-1"),
    "a hexadecimal length": length(b"0x20"),
    "a length of 2**64": length(b"18446744073709551616"),
    "a length of many digits": length(b"9" * 400),
    "a length with _": length(b"3_2"),
    "a blank before the colon": length(b"32", b"content-length "),
    "an unknown coding": POST + b"transfer-encoding: xchunked\r\n\r\n" + WHOLE,
    "chunked not last": POST + b"transfer-encoding: chunked, identity\r\n\r\n" + WHOLE,
    "two codings": POST + b"transfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n" + WHOLE,
    "a vertical tab": POST + b"transfer-encoding:\x0bchunked\r\n\r\n" + WHOLE,
    "a chunk of 2**64": CHUNKED + b"10000000000000000\r\n" + ROWS,
    "a chunk of many digits": CHUNKED + b"1" * 400 + b"\r\n" + ROWS,
    "a negative chunk": CHUNKED + b"-1\r\n" + ROWS,
    "a chunk of 0x20": CHUNKED + b"0x20\r\n" + ROWS,
    "a chunk with bare LF": CHUNKED + b"20\n" + ROWS + b"\n0\n\n",
    "a chunk longer than told": CHUNKED + b"1f\r\n" + ROWS + b"\r\n0\r\n\r\n",
    "an extension with bare LF": CHUNKED + b"20;a\n" + ROWS + b"\r\n0\r\n\r\n",
    "bare LF": b"GET /health/live HTTP/1.1\nhost: a\n\n",
    "bare CR": b"GET /health/live HTTP/1.1\rhost: a\r\r",
    "a folded header": b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nx: a\r\n b\r\n\r\n",
    "NUL in a header": b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nx: a\0b\r\n\r\n",
    "CONNECT": b"CONNECT evil:443 HTTP/1.1\r\nhost: evil:443\r\n\r\n",
    "an authority to GET": b"GET evil:443 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\nhost: localhost\r\n\r\n",
    "a path of other bytes": b"GET /v1/sessions/\xff\xfe HTTP/1.1\r\nhost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("data", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_what_could_be_read_in_two_ways_is_one_400_and_the_end(
    attacked: Server, target: httpx.Client, data: bytes
):
    answer = exchange(attacked, data + NEXT)
    assert statuses(answer) == [400], answer
    assert b'"code":"invalid_request"' in answer and b"connection: close" in answer


SERVED = {
    "whole chunks": (CHUNKED + WHOLE, 200),
    "an absolute target": (b"GET http://evil/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n", 200),
    "an asterisk": (b"OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n", 404),
    "a path that climbs": (b"GET /../../etc/passwd HTTP/1.1\r\nhost: localhost\r\n\r\n", 404),
    "percents that are none": (b"GET /v1/sessions/%zz%2 HTTP/1.1\r\nhost: localhost\r\n\r\n", 404),
    "a body to GET": (
        b"GET /health/live HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\n\r\nGET",
        200,
    ),
}


@pytest.mark.parametrize(("data", "status"), SERVED.values(), ids=SERVED)
def test_what_is_odd_and_clear_is_answered_once_and_the_next_is_its_own(
    attacked: Server, target: httpx.Client, data: bytes, status: int
):
    assert statuses(exchange(attacked, data + NEXT)) == [status, 200]


FLOODS = {
    "600,000 chunks of a byte": (b"1\r\n \r\n" * 600_000 + b"0\r\n\r\n", [400, 200]),
    "an extension of 8 MB": (b"1;" + b"a" * 8_000_000 + b"\r\n \r\n0\r\n\r\n", [431]),
    "100,000 extensions": (
        (b"1;" + b"a" * 50 + b"\r\n \r\n") * 100_000 + b"0\r\n\r\n",
        [400, 200],
    ),
    "8 MB of trailers": (b"1\r\n \r\n0\r\n" + b"x: y\r\n" * 1_300_000 + b"\r\n", [431]),
    "a trailer of 8 MB": (b"1\r\n \r\n0\r\nx: " + b"y" * 8_000_000 + b"\r\n\r\n", [431]),
}


@pytest.mark.parametrize(("body", "wanted"), FLOODS.values(), ids=FLOODS)
def test_a_flood_of_framing_takes_neither_memory_nor_long(
    attacked: Server, target: httpx.Client, body: bytes, wanted: list[int]
):
    (front,) = attacked.children("service.front")
    before, begun = memory_of(front), time.monotonic()
    found = statuses(exchange(attacked, CHUNKED + body + NEXT, 20))
    assert found in (wanted, wanted[:1], [])  # hung up on amid its sending, one may see less
    assert time.monotonic() - begun < 10
    assert memory_of(front) - before < 16_000_000


def test_many_headers_within_the_bound_are_served_and_past_it_refused(
    attacked: Server, target: httpx.Client
):
    line = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
    many = b"".join(b"x%d: y\r\n" % at for at in range(2000))
    assert statuses(exchange(attacked, line + many + b"\r\n")) == [200]
    assert statuses(exchange(attacked, line + many * 40 + b"\r\n")) in ([431], [])
