"""What a request's headers make its mutation conditional on."""

from __future__ import annotations

import re
from hashlib import blake2b

from service.body import Head
from service.errors import InvalidRequest
from service.requests import Guard

FINGERPRINT_BYTES = 16
KEY = re.compile(rb"[\x21-\x7e]{1,255}")
TAG = re.compile(rb'(W/)?"([\x21\x23-\x7e]{0,255})"')
NONE = Guard()


def are_in(head: Head) -> bool:
    """Do these headers make a mutation conditional?"""
    return b"idempotency-key" in head or b"if-match" in head


def of(head: Head, *said: bytes) -> Guard:
    """The guard of a request with these headers.

    said: what the request says, by which a repeat of its key is told from another request.
    Raises InvalidRequest for a malformed Idempotency-Key or If-Match.
    """
    if not are_in(head):
        return NONE
    key, match = head.get(b"idempotency-key"), head.get(b"if-match")
    if key is None:
        return Guard(None, b"", _tag(match))
    if not KEY.fullmatch(key):
        raise _malformed("Idempotency-Key", "1 to 255 visible ASCII characters", key)
    return Guard(key.decode("ascii"), fingerprint(*said), _tag(match))


def fingerprint(*parts: bytes) -> bytes:
    """A digest of the parts and of where each ends."""
    digest = blake2b(digest_size=FINGERPRINT_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def _tag(value: bytes | None) -> str | None:
    if value is None or value.strip() == b"*":  # any revision of a session that is there
        return None
    found = TAG.fullmatch(value.strip())
    if found is None:
        raise _malformed("If-Match", 'one entity tag in quotes, like "8kq3-2", or *', value)
    weak, opaque = found.groups()
    # A weak tag never matches (RFC 9110, 13.1.1): with its prefix it equals no revision's.
    return ((weak or b"") + opaque).decode("ascii")


def etag(incarnation: str, revision: int) -> str:
    """The ETag of a session's revision."""
    return f'"{incarnation}-{revision}"'


def _malformed(header: str, expected: str, value: bytes) -> InvalidRequest:
    got = value.decode("latin-1")
    return InvalidRequest(
        f"{header}: expected {expected}, got {got!r}", expected=expected, got=got, where=header
    )
