"""The sessions of one load: what each has sent, and which of their answers are to be checked."""

from __future__ import annotations

import numpy as np

from tests.bench.peers.wires import Wire
from tests.bench.reference import Reference

CLOSELY = 4  # sessions of which every answer is checked, up to
CLOSELY_ROWS = 20_000  # so many rows each; the reference takes a while
BRIEFLY = 60  # more sessions, of which
BRIEFLY_ROWS = 40  # so many rows are checked, the first
# One row over and over leads to a fixed point, many different ones do not: from some 1,000 rows on
# a last bit that differs has grown to where the answers have nothing in common any more.
NEAR_ROWS = 200


class Sessions:
    """wire: what goes between them and the server; steps: requests answered, by session; failed:
    answers that say that something went wrong, and `failure` the first of these. tolerance: how far
    a right answer may be from the reference's."""

    def __init__(self, wire: Wire, inputs: list[list[list[float]]], tolerance: float) -> None:
        self.wire, self._inputs, self._tolerance = wire, inputs, tolerance
        self.steps = [0] * len(inputs)
        self.failed, self.failure = 0, b""
        self._kept: list[list[bytes] | None] = [None] * len(inputs)
        self._limits = limits(len(inputs), len(inputs[0]), tolerance == 0)
        for session in self._limits:
            self._kept[session] = []

    def request(self, session: int) -> bytes:
        """Its next."""
        return self.wire.request(session, self.steps[session])

    def note(self, session: int, answer: bytes) -> None:
        """Its answer."""
        self.steps[session] += 1
        if not self.wire.good(answer):
            self.failed += 1
            self.failure = self.failure or answer
        kept = self._kept[session]
        if kept is not None and len(kept) < self._limits[session]:
            kept.append(answer)

    @property
    def checked(self) -> int:
        """How many answers `wrong` looks at."""
        return sum(len(kept) for kept in self._kept if kept is not None)

    def wrong(self, reference: Reference) -> int:
        """How many of the kept answers are not right; those that say that something went wrong
        are not."""
        wrong = 0
        for inputs, kept in zip(self._inputs, self._kept, strict=True):
            if kept:
                right = reference.answers(inputs, len(kept))
                wrong += sum(not self._fits(*pair) for pair in zip(kept, right, strict=True))
        return wrong

    def _fits(self, answer: bytes, right: np.ndarray) -> bool:
        if not self.wire.good(answer):
            return False
        got = self.wire.outputs(answer)
        return got.shape == right.shape and bool(np.all(np.abs(got - right) <= self._tolerance))


def limits(sessions: int, rows: int, exact: bool) -> dict[int, int]:
    """How many answers to check, by session; the sessions are spread over all.

    rows: of a request; exact: the server computes as the reference does, to the last bit.
    """
    apart = max(1, sessions // (CLOSELY + BRIEFLY))
    spread = range(0, sessions, apart)[: CLOSELY + BRIEFLY]
    few, many = (max(1, most // rows) for most in (BRIEFLY_ROWS, CLOSELY_ROWS))
    if rows > 1 and not exact:
        few = many = max(1, NEAR_ROWS // rows)
    return {
        each: many if n % (len(spread) // CLOSELY or 1) == 0 else few
        for n, each in enumerate(spread)
    }
