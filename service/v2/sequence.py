"""The sequence extension: what a request's parameters say, and the session that a sequence is.

A sequence is a session like any other. Its key (model, kind of id, id) is written into the
session's id behind `v2~`, a prefix that no session created by its user may have:

    v2~copy~int~7        the integer 7
    v2~copy~string~7     the string "7"
    v2~<hash>            where that would not be an id: too long, or of other characters

No name of a model has a `~`, so no two keys share an id.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import msgspec

from service import guards
from service.engine.sessions import ID_PATTERN, RESERVED
from service.errors import InvalidRequest
from service.requests import Guard

MAX_INTEGER = 2**64 - 1
MAX_STRING_BYTES = 1024
HASH_BYTES = 20


class Sequence(msgspec.Struct, frozen=True):
    """Which sequence a row belongs to, and whether it is its first or its last."""

    id: int | str
    start: bool
    end: bool

    def __str__(self) -> str:
        return f"sequence {self.id!r}"


def sequence_of(parameters: dict[str, Any]) -> Sequence | None:
    """What the parameters say; None without a sequence_id, for which 0 and "" stand too.

    Raises InvalidRequest.
    """
    number = parameters.get("sequence_id", 0)
    start, end = _flag(parameters, "sequence_start"), _flag(parameters, "sequence_end")
    if isinstance(number, bool) or not isinstance(number, int | str):
        raise _invalid("sequence_id", "a uint64 or a string", number)
    if isinstance(number, int) and not 0 <= number <= MAX_INTEGER:
        raise _invalid("sequence_id", f"an integer of 0 to {MAX_INTEGER}", number)
    if isinstance(number, str) and len(number.encode()) > MAX_STRING_BYTES:
        got = f"{len(number.encode())} bytes"
        raise _invalid("sequence_id", f"a string of at most {MAX_STRING_BYTES} bytes", got)
    if number:
        return Sequence(number, start, end)
    if start or end:
        raise _invalid("sequence_id", "the id of the sequence that starts or ends", number)
    return None


def session_id(model: str, number: int | str) -> str:
    """The id of the session that a sequence is."""
    kind = "int" if isinstance(number, int) else "string"
    plain = f"{RESERVED}{model}~{kind}~{number}"
    if ID_PATTERN.fullmatch(plain):
        return plain
    key = f"{model}\0{kind}\0{number}".encode()
    digest = hashlib.blake2b(key, digest_size=HASH_BYTES).digest()
    return RESERVED + base64.b32encode(digest).decode().lower()


def user_id(number: int | str) -> str | None:
    """The session of its user's own naming that a string may mean too; None where it cannot."""
    if isinstance(number, str) and ID_PATTERN.fullmatch(number):
        return None if number.startswith(RESERVED) else number
    return None


def guard_of(request_id: str, session: str, sequence: Sequence, *said: bytes) -> Guard:
    """The guard of a request: its id is the key by which a repeat of it is known.

    said: the rows, by which a repeat is told from another request of the same id.
    """
    if not request_id:
        return guards.NONE
    key = request_id.encode()
    if not guards.KEY.fullmatch(key):
        key = b"~" + hashlib.blake2b(key, digest_size=HASH_BYTES).hexdigest().encode()
    flags = b"%d %d" % (sequence.start, sequence.end)
    return Guard(key.decode("ascii"), guards.fingerprint(b"v2", session.encode(), flags, *said))


def _flag(parameters: dict[str, Any], name: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise _invalid(name, "true or false", value)
    return value


def _invalid(where: str, expected: str, got: Any) -> InvalidRequest:
    return InvalidRequest(
        f"{where}: expected {expected}, got {got!r}", expected=expected, got=got, where=where
    )
