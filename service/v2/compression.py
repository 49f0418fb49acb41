"""Bodies that are gzip or deflate, which is the zlib format (RFC 9110, 8.4.1)."""

from __future__ import annotations

import re
import zlib

from service.errors import BodyTooLarge, InvalidRequest, UnsupportedMediaType

# What zlib is told to expect or to write: its window, and 16 more for gzip's header.
WINDOW = {"gzip": 31, "deflate": 15}
KNOWN = ", ".join(["identity", *WINDOW])
LEVEL = 1  # a body is sent once: the fast end of the scale
_CODING = re.compile(r"([a-z0-9!#$%&'*+.^_`|~-]+)(?:;q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?")


def coding_of(value: str) -> str | None:
    """What a Content-Encoding names; None for identity. Raises UnsupportedMediaType."""
    coding = value.strip().lower()
    if coding in ("", "identity"):
        return None
    if coding not in WINDOW:
        raise UnsupportedMediaType(
            f"Content-Encoding: expected one of {KNOWN}, got {value!r}",
            headers={"accept-encoding": "gzip, deflate"},
            expected=f"one of {KNOWN}", got=value, where="Content-Encoding",
        )  # fmt: skip
    return coding


def expand(data: bytes, coding: str, max_bytes: int) -> bytes:
    """The body that was compressed. Keeps no more of it than `max_bytes`.

    Raises BodyTooLarge, and InvalidRequest for what is not of the coding, is cut off, or goes on
    behind its end.
    """
    stream = zlib.decompressobj(WINDOW[coding])
    try:
        body = stream.decompress(data, max_bytes + 1)
    except zlib.error as error:
        raise _broken(coding, str(error)) from None
    if len(body) > max_bytes:
        expected = f"at most {max_bytes} bytes (NTM_MAX_EXPANDED_BYTES)"
        raise BodyTooLarge(
            f"the body, expanded: expected {expected}, got more", expected=expected, got="more"
        )
    if not stream.eof:
        raise _broken(coding, "it is cut off")
    if stream.unused_data:
        raise _broken(coding, f"{len(stream.unused_data)} bytes behind its end")
    return body


def compress(data: bytes, coding: str) -> bytes:
    """The body, compressed."""
    stream = zlib.compressobj(LEVEL, zlib.DEFLATED, WINDOW[coding])
    return stream.compress(data) + stream.flush()


def accepted(value: str) -> str | None:
    """The coding that an Accept-Encoding likes best; None for identity, also where it says
    nothing that can be read."""
    liked: dict[str, float] = {}
    for part in value.lower().split(","):
        found = _CODING.fullmatch(part.replace(" ", "").replace("\t", ""))
        if found:
            liked[found[1]] = float(found[2] or 1)
    best = max(WINDOW, key=lambda coding: liked.get(coding, liked.get("*", 0.0)))
    score = liked.get(best, liked.get("*", 0.0))
    return best if score > 0 and score >= liked.get("identity", 0.0) else None


def _broken(coding: str, problem: str) -> InvalidRequest:
    expected = f"a whole {coding} stream"
    return InvalidRequest(
        f"the body: expected {expected}, got: {problem}", expected=expected, got=problem
    )
