"""The engine's metrics: queue, batches, sessions, state. No session is ever a label."""

from __future__ import annotations

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from service.tally import Tallies

SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10,
)  # fmt: skip
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class EngineMetrics:
    """One registry an engine."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(name, what, labels, registry=registry)

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(name, what, labels, registry=registry)

        def histogram(name: str, what: str, bounds: tuple[float, ...]) -> Tallies:
            return Tallies(name, what, ("model",), bounds, registry)

        self.queue_seconds = histogram(
            "ntm_queue_seconds", "From a request's admission to its first batch", SECONDS
        )
        self._evicted: dict[tuple[str, str], Counter] = {}
        self.step_seconds = histogram(
            "ntm_step_seconds", "One batch in the runtime, gather and scatter included", SECONDS
        )
        self.commit_seconds = Tallies(
            "ntm_commit_seconds", "One commit of a tick's changes", (), SECONDS, registry
        ).labels()
        self.batch_size = histogram("ntm_batch_size", "Requests in one batch", SIZES)
        self.batches = counter(
            "ntm_batches_total", "Batches by why they were no larger", "model", "limit"
        )
        self.rows = counter("ntm_rows_total", "Rows run", "model")
        # A look-up by label takes as long as all the rest.
        self._batches_of, self._rows_of = cache(self.batches.labels), cache(self.rows.labels)
        self.queue_depth = gauge("ntm_queue_depth", "Requests admitted, not finished", "model")
        self.sessions = gauge("ntm_sessions", "Live sessions by where their state is", "state")
        self.state_bytes = gauge("ntm_state_bytes", "Bytes of session state by tier", "tier")
        self.evictions = counter(
            "ntm_evictions_total", "Sessions put off the device", "model", "reason"
        )
        self.expiries = counter("ntm_expiries_total", "Sessions ended", "reason")
        self.conflicts = counter(
            "ntm_commit_conflicts_total", "Changes not written, another revision was stored"
        )
        self.damaged = counter("ntm_damaged_total", "Sessions found damaged in the store")
        self.models = gauge(
            "ntm_model_info", "1 a loaded model", "model", "version", "family", "runtime", "device"
        )
        self.device_bytes = gauge(
            "ntm_device_memory_bytes", "Accelerator memory in use; absent on a CPU", "device"
        )

    def queued(self, model: str, seconds: float) -> None:
        """A job entered its first batch."""
        self.queue_seconds.labels(model).observe(seconds)

    def ticked(self, model: str, size: int, rows: int, seconds: float, limit: str) -> None:
        """A batch of `size` jobs ran `rows` rows each. limit: why there were no more."""
        self._batches_of(model, limit).inc()
        self.step_seconds.labels(model).observe(seconds)
        self.batch_size.labels(model).observe(size)
        self._rows_of(model).inc(size * rows)

    def evicted(self, model: str, reason: str) -> None:
        """A session lost its slot."""
        child = self._evicted.get((model, reason))
        if child is None:
            child = self._evicted[model, reason] = self.evictions.labels(model, reason)
        child.inc()

    def text(self) -> bytes:
        """The Prometheus exposition."""
        return generate_latest(self.registry)
