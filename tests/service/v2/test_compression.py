"""Compressed bodies, and what is none."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BodyTooLarge, InvalidRequest, UnsupportedMediaType
from service.v2.compression import accepted, coding_of, compress, expand

CODINGS = ["gzip", "deflate"]
PACK = {"gzip": gzip.compress, "deflate": zlib.compress}
UNPACK = {"gzip": gzip.decompress, "deflate": zlib.decompress}


@pytest.mark.parametrize("coding", CODINGS)
@given(data=st.binary(max_size=5000))
def test_a_body_comes_back_as_it_was(coding: str, data: bytes):
    assert UNPACK[coding](compress(data, coding)) == data
    assert expand(PACK[coding](data), coding, 5000) == data


@pytest.mark.parametrize("coding", CODINGS)
def test_no_more_is_expanded_than_is_allowed(coding: str):
    bomb = PACK[coding](b"\0" * 50_000_000)
    assert len(bomb) < 60_000
    with pytest.raises(BodyTooLarge, match="at most 1000 bytes"):
        expand(bomb, coding, 1000)
    assert len(expand(PACK[coding](b"\0" * 1000), coding, 1000)) == 1000


@pytest.mark.parametrize("coding", CODINGS)
def test_what_is_cut_off_damaged_followed_or_of_the_other_coding_is_refused(coding: str):
    whole = PACK[coding](b"some body, some body" * 9)
    other = next(pack for name, pack in PACK.items() if name != coding)
    flipped = whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:]
    for broken in (b"", whole[:-1], whole + b"x", whole * 2, flipped, other(b"body"), b"body"):
        with pytest.raises(InvalidRequest, match=f"a whole {coding} stream"):
            expand(broken, coding, 1000)


def test_codings_are_named_in_any_case_and_others_are_refused():
    assert [coding_of(name) for name in ("", "identity", " GZIP ", "Deflate")] == [
        None, None, "gzip", "deflate",
    ]  # fmt: skip
    for name in ("br", "gzip, gzip", "x-gzip", "zstd"):
        with pytest.raises(UnsupportedMediaType) as raised:
            coding_of(name)
        assert raised.value.headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate, br", "gzip"),
        ("gzip;q=0.2, deflate;q=0.9", "deflate"),
        ("GZIP ; q=0.5", "gzip"),
        ("gzip;q=0, deflate;q=0", None),
        ("identity, gzip;q=0.5", None),
        ("*", "gzip"),
        ("*, gzip;q=0", "deflate"),
        ("br", None),
        ("gzip;q=high", None),
        (";;,,", None),
    ],
)
def test_an_answer_is_in_the_coding_that_is_liked_best(header: str, coding: str | None):
    assert accepted(header) == coding
