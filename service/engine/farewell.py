"""What an ended sequence leaves behind: that it has ended, and the answer to its last row.

Both are the reason in its tombstone, so they come into the store with the row itself, or neither
does, and go with the tombstone.
"""

from __future__ import annotations

import base64
import binascii

import msgspec
from msgspec.structs import replace

from service.requests import Guard
from service.results import StepsResult

ENDED = "ended"
_ENCODER = msgspec.msgpack.Encoder()


class Last(msgspec.Struct, frozen=True, array_like=True):
    """The key, fingerprint and answer of a sequence's last row."""

    key: str
    fingerprint: bytes
    result: StepsResult


_LAST = msgspec.msgpack.Decoder(Last)


def reason_of(guard: Guard, result: StepsResult) -> str:
    """The reason in the tombstone of a sequence. A row without a key is not told again."""
    if guard.key is None:
        return ENDED
    last = _ENCODER.encode(Last(guard.key, guard.fingerprint, result))
    return f"{ENDED} {base64.b64encode(last).decode('ascii')}"


def repeat_of(reason: str | None, guard: Guard) -> StepsResult | None:
    """The answer to the last row, where this is a repeat of it."""
    if guard.key is None or reason is None or not reason.startswith(f"{ENDED} "):
        return None
    try:
        last = _LAST.decode(base64.b64decode(reason[len(ENDED) + 1 :], validate=True))
    except (binascii.Error, msgspec.DecodeError):  # of another make: it has ended all the same
        return None
    if (last.key, last.fingerprint) != (guard.key, guard.fingerprint):
        return None
    return replace(last.result, replayed=True)
