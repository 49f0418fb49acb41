"""Counters and histograms for one thread: prometheus_client's own take a lock for every number.

A process whose event loop both counts and answers /metrics needs none, and counts a few times for
each row.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString


class Sum:
    """What was added up under one set of labels."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class Sums:
    """A counter by its labels, which `registry` exposes."""

    def __init__(
        self, name: str, what: str, labels: tuple[str, ...], registry: CollectorRegistry
    ) -> None:
        self._name, self._what, self._names = name, what, labels
        self._of: dict[tuple[str, ...], Sum] = {}
        registry.register(self)

    def labels(self, *values: str) -> Sum:
        """The sum of these."""
        found = self._of.get(values)
        if found is None:
            found = self._of[values] = Sum()
        return found

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client's Collector."""
        family = CounterMetricFamily(self._name, self._what, labels=self._names)
        for values, each in self._of.items():
            family.add_metric(values, each.value)
        yield family


class Tally:
    """What was observed under one set of labels."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)  # each up to its bound, the last beyond them all
        self.total = 0.0

    def observe(self, value: float) -> None:
        """One more."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class Tallies:
    """A histogram by its labels, which `registry` exposes. bounds: in rising order."""

    def __init__(
        self, name: str, what: str, labels: tuple[str, ...], bounds: tuple[float, ...],
        registry: CollectorRegistry,
    ) -> None:  # fmt: skip
        self._name, self._what, self._names, self._bounds = name, what, labels, bounds
        self._of: dict[tuple[str, ...], Tally] = {}
        if not labels:
            self.labels()  # told from the beginning
        registry.register(self)

    def labels(self, *values: str) -> Tally:
        """The tally of these."""
        found = self._of.get(values)
        if found is None:
            found = self._of[values] = Tally(self._bounds)
        return found

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client's Collector."""
        family = HistogramMetricFamily(self._name, self._what, labels=self._names)
        told = [*map(floatToGoString, self._bounds), "+Inf"]
        for values, tally in self._of.items():
            buckets = list(zip(told, accumulate(tally.counts), strict=True))
            family.add_metric(values, buckets, tally.total)
        yield family
