"""How deep a JSON document is nested, told from its bytes before anything is made of it.

MessagePack has no such check: every type that is read from it ends at a depth of its own
(service/schemas.py), and knows no field that it would pass over.
"""

from __future__ import annotations

import numpy as np

from service.errors import InvalidRequest

MARKS = b'[]{}"'
CHUNK = 1 << 20  # bytes looked at together, so that a long document takes no memory of its kind

_OTHERS = bytes(set(range(256)) - set(MARKS))
_MOVES = np.zeros(256, np.int8)
_MOVES[list(b"[{")], _MOVES[list(b"]}")] = 1, -1


def check(document: bytes, most: int) -> None:
    """Raises InvalidRequest for lists and objects nested in more than `most` levels.

    A document with no more brackets than levels, such as one of a few rows, is let through at once.
    """
    if document.count(b"[") + document.count(b"{") > most and depth_of(document) > most:
        expected, got = f"at most {most} levels of nesting (NTM_MAX_DEPTH)", "more"
        raise InvalidRequest(
            f"the body: expected {expected}, got {got}", expected=expected, got=got
        )


def depth_of(document: bytes) -> int:
    """The levels of a document. Of one that is no JSON: at least those that come before what is
    wrong with it, which is as far as a decoder follows."""
    plain = document.replace(rb"\\", b"").replace(rb"\"", b"")
    marks = np.frombuffer(plain.translate(None, _OTHERS), np.uint8)
    deepest = level = 0
    within = np.uint8(0)  # 1 in a string
    for at in range(0, len(marks), CHUNK):
        part = marks[at : at + CHUNK]
        quoted = np.cumsum(part == ord('"'), dtype=np.uint8) + within & 1
        levels = np.cumsum(np.where(quoted, np.int8(0), _MOVES[part]), dtype=np.int32) + level
        deepest, level, within = max(deepest, int(levels.max())), int(levels[-1]), quoted[-1]
    return deepest
