"""What one model has done since it was loaded, as clients of V2 ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic, time_ns

from service.results import ModelStatistics, Spent

NS = 1_000_000_000


class Total:
    """A count and the time it took."""

    __slots__ = ("count", "ns")

    def __init__(self) -> None:
        self.count = self.ns = 0

    def add(self, seconds: float, times: int = 1) -> None:
        """So often more, so long in all."""
        self.count += times
        self.ns += int(seconds * NS)

    @property
    def spent(self) -> Spent:
        """As it is told."""
        return Spent(self.count, self.ns)


class Statistics:
    """Counts for one model and version."""

    def __init__(self) -> None:
        self.last_ms = self.rows = 0
        self.success, self.fail, self.queue, self.infer = Total(), Total(), Total(), Total()
        self.batches: dict[int, Total] = {}

    def queued(self, seconds: Sequence[float]) -> None:
        """So many requests came to their first batch."""
        self.queue.add(sum(seconds), len(seconds))
        self.last_ms = time_ns() // 1_000_000

    def ticked(self, size: int, rows: int, seconds: float) -> None:
        """A batch of `size` requests ran `rows` rows each: as many executions."""
        self.rows += size * rows
        batch = self.batches.setdefault(size, Total())
        for total in (self.infer, batch):
            total.add(seconds, rows)

    def finished(self, admitted_at: float, ok: bool) -> None:
        """A request was answered. admitted_at: of the monotonic clock."""
        (self.success if ok else self.fail).add(monotonic() - admitted_at)

    def told(self, name: str, version: str) -> ModelStatistics:
        """All of it."""
        return ModelStatistics(
            name,
            version,
            self.last_ms,
            self.rows,
            self.infer.count,
            self.success.spent,
            self.fail.spent,
            self.queue.spent,
            self.infer.spent,
            {size: total.spent for size, total in sorted(self.batches.items())},
        )
