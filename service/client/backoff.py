"""When a request is tried again: pure, with the clock and the dice given from outside."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from service.client.errors import Misuse


class Retries(msgspec.Struct, frozen=True):
    """How often and how long. `Retries(0)` tries once.

    A pause is what the server asked for (Retry-After) and behind it a random part of
    min(cap_s, base_s * 2**n) at the n-th retry, so that clients who failed together come apart.
    """

    count: int = 10  # retries after the first try
    base_s: float = 0.1
    cap_s: float = 5.0
    total_s: float = 60.0  # from the first try until no other one begins, pauses included

    def __post_init__(self) -> None:
        if self.count < 0 or self.base_s < 0 or self.cap_s < 0 or self.total_s <= 0:
            raise Misuse(f"retries: expected numbers from 0 and total_s above 0, got {self}")


class Backoff:
    """One request's tries. clock: seconds that only rise; dice: a number in [0, 1)."""

    def __init__(
        self, policy: Retries, clock: Callable[[], float], dice: Callable[[], float]
    ) -> None:
        self._policy, self._clock, self._dice = policy, clock, dice
        self.begin_anew()

    def begin_anew(self) -> None:
        """Count from here: something went well."""
        self._retries, self._end = 0, self._clock() + self._policy.total_s

    @property
    def left_s(self) -> float:
        """Seconds until no other try begins."""
        return self._end - self._clock()

    def pause(self, at_least_s: float = 0.0) -> float | None:
        """Seconds to wait before the next try; None where there is to be none."""
        if self._retries >= self._policy.count:
            return None
        # Past 2**60 the cap holds in any case, and a float would overflow.
        longest = min(self._policy.cap_s, self._policy.base_s * 2.0 ** min(self._retries, 60))
        pause = at_least_s + self._dice() * longest
        if pause >= self.left_s:
            return None
        self._retries += 1
        return pause
