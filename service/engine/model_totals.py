"""What each model and version has done, as counters: the same numbers that V2's statistics tell.

They are kept anyway (statistics.py) and read at a scrape, so a step pays nothing for them. A
version that is unloaded takes its counters with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Metric

from service.results import ModelStatistics

NS = 1e9
BY_VERSION = ("model", "version")
BY_OUTCOME = (*BY_VERSION, "outcome")


class ModelTotals:
    """A collector. `told` is what is exposed: one item a model and version."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.told: Sequence[ModelStatistics] = ()
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client's Collector."""
        families = _families()
        for of in self.told:
            labels = (of.name, of.version)
            for outcome, spent in (("success", of.success), ("failure", of.fail)):
                families.requests.add_metric((*labels, outcome), spent.count)
                families.request_seconds.add_metric((*labels, outcome), spent.ns / NS)
            families.queue_seconds.add_metric(labels, of.queue.ns / NS)
            families.step_seconds.add_metric(labels, of.infer.ns / NS)
            families.executions.add_metric(labels, of.executions)
            families.rows.add_metric(labels, of.rows)
        return families


class _Families(NamedTuple):
    requests: CounterMetricFamily
    request_seconds: CounterMetricFamily
    queue_seconds: CounterMetricFamily
    step_seconds: CounterMetricFamily
    executions: CounterMetricFamily
    rows: CounterMetricFamily


def _families() -> _Families:
    def counter(name: str, what: str, labels: Sequence[str] = BY_VERSION) -> CounterMetricFamily:
        return CounterMetricFamily(f"ntm_model_{name}", what, labels=labels)

    return _Families(
        counter("requests", "Steps and predictions answered", BY_OUTCOME),
        counter("request_seconds", "From their admission to their answer", BY_OUTCOME),
        counter("queue_seconds", "From their admission to their first batch"),
        counter("step_seconds", "Batches in the runtime"),
        counter("executions", "Rows of batches: a batch of several rows is as many executions"),
        counter("rows", "Rows run, of all sessions in the batches"),
    )
