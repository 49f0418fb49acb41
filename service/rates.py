"""How often somebody may ask: a bucket of tokens each, filled at a steady rate."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic


class Rates:
    """`per_s` tokens a second for each name, of which one second's may be saved up.

    Names are kept, so they must be few: tenants are, whatever clients send is not.
    """

    def __init__(self, per_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._per_s, self._most, self._clock = per_s, max(1.0, per_s), clock
        self._left: dict[str, tuple[float, float]] = {}  # tokens, and when there were so many

    def take(self, name: str) -> float:
        """Take a token. Returns 0, or after how many seconds there is one."""
        now = self._clock()
        tokens, at = self._left.get(name, (self._most, now))
        tokens = min(self._most, tokens + (now - at) * self._per_s)
        if tokens < 1.0:
            self._left[name] = (tokens, now)
            return (1.0 - tokens) / self._per_s
        self._left[name] = (tokens - 1.0, now)
        return 0.0
