"""What a model's batches come to, kept until there is time to count it: answers do not wait."""

from __future__ import annotations

from service.engine.metrics import EngineMetrics
from service.engine.statistics import Statistics


class Counts:
    """Of one model. `tell` brings metrics and statistics up to date."""

    def __init__(self, model: str, metrics: EngineMetrics, statistics: Statistics) -> None:
        self._model, self._metrics, self._statistics = model, metrics, statistics
        self._waited: list[float] = []
        self._ran: list[tuple[int, int, float, str]] = []

    def waited(self, seconds: float) -> None:
        """A job waited so long for its first batch."""
        self._waited.append(seconds)

    def ran(self, size: int, rows: int, seconds: float, limit: str) -> None:
        """A batch of `size` jobs ran `rows` rows each. limit: why there were no more."""
        self._ran.append((size, rows, seconds, limit))

    def tell(self) -> None:
        """Count what there has been since the last time."""
        if self._waited:
            self._metrics.queued(self._model, self._waited)
            self._statistics.queued(self._waited)
        for size, rows, took, limit in self._ran:
            self._metrics.ticked(self._model, size, rows, took, limit)
            self._statistics.ticked(size, rows, took)
        self._waited.clear()
        self._ran.clear()
