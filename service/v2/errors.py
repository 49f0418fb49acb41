"""How an error is told under /v2: one string, beginning with the code that /v1 gives it."""

from __future__ import annotations

import msgspec

from service.errors import NtmError

PREFIX = "/v2"


def text(error: NtmError) -> str:
    """The error as a client sees it."""
    return f"{error.code}: {error.detail}"


def body(error: NtmError) -> bytes:
    """The error as the JSON of the protocol."""
    return msgspec.json.encode({"error": text(error)})


def concerns(path: str) -> bool:
    """Is this a path of the protocol, known or not?"""
    return path == PREFIX or path.startswith(PREFIX + "/")
