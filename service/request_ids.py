"""The id of a request: in its answer, in the log lines about it, and with it to the engine."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar

HEADER = "x-request-id"
FIT = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")
DRAWN_BYTES = 6  # of each half
DRAWN_TOGETHER = 256
MOST_TOLD = 8  # ids in one log line

# Of the request that the running code serves; empty where it serves none, or many.
current: ContextVar[str] = ContextVar("request_id", default="")


class RequestIds:
    """Draws the ids of one process, which share what they begin with. The rest is random: a number
    would tell how many requests there are, and they are other tenants' too."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(DRAWN_BYTES)
        self._ready: list[str] = []

    def drawn(self) -> str:
        """A fresh id."""
        if not self._ready:  # the system is asked once for many
            drawn, size = secrets.token_hex(DRAWN_TOGETHER * DRAWN_BYTES), 2 * DRAWN_BYTES
            self._ready = [
                f"{self._prefix}-{drawn[at : at + size]}" for at in range(0, len(drawn), size)
            ]
        return self._ready.pop()

    def fit(self, given: bytes) -> str:
        """The client's id where it is a fit one, else a fresh one."""
        return given.decode("ascii") if FIT.fullmatch(given) else self.drawn()


def told(ids: list[str]) -> str:
    """The ids of many requests, for one log line: the first few, and how many more."""
    named = [name for name in ids if name]
    more = len(named) - MOST_TOLD
    return " ".join(named[:MOST_TOLD]) + (f" and {more} more" if more > 0 else "")
