"""The engine's metrics: queue, batches, sessions, state. No session is ever a label."""

from __future__ import annotations

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from service.engine.model_totals import ModelTotals
from service.tally import Tallies
from service.usage import Usage

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
        self.queue_limit = gauge("ntm_queue_limit", "NTM_MAX_QUEUE of its versions", "model")
        self.batch_limit = gauge("ntm_batch_limit", "NTM_MAX_BATCH", "model")
        self.slots = gauge("ntm_slots", "States that the device has room for", "model")
        self.pending = gauge(
            "ntm_model_pending", "Requests waiting for their first batch", "model", "version"
        )
        self.sessions = gauge("ntm_sessions", "Live sessions by where their state is", "state")
        self.state_bytes = gauge("ntm_state_bytes", "Bytes of session state by tier", "tier")
        self.live_sessions = gauge(
            "ntm_live_sessions", "Live sessions in the store, everybody's on a shared one", "store"
        )
        self.model_sessions = gauge(
            "ntm_model_sessions", "Those of them on this model", "model", "version"
        )
        self.evictions = counter(
            "ntm_evictions_total", "Sessions put off the device", "model", "reason"
        )
        self.restores = counter(
            "ntm_restores_total", "Sessions brought back: host, to the device; store, to the host",
            "model", "source",
        )  # fmt: skip
        self.load_seconds = Tallies(
            "ntm_load_seconds", "One session read from the store, rows run again included",
            (), SECONDS, registry,
        ).labels()  # fmt: skip
        self.expiries = counter("ntm_expiries_total", "Sessions ended", "reason")
        self.conflicts = counter(
            "ntm_commit_conflicts_total", "Changes not written, another revision was stored"
        )
        self.damaged = counter("ntm_damaged_total", "Sessions found damaged in the store")
        self.store_up = gauge("ntm_store_up", "1 where the store answers", "store")
        self.store_bytes = gauge("ntm_store_bytes", "What the store takes up", "store")
        self.store_free_bytes = gauge("ntm_store_free_bytes", "What is left to the store", "store")
        self.store_limit_bytes = gauge(
            "ntm_store_limit_bytes", "What there is of it: the disk, or Redis's maxmemory", "store"
        )
        self.models = gauge(
            "ntm_model_info", "1 a loaded model", "model", "version", "family", "runtime", "device"
        )
        self.device_bytes = gauge(
            "ntm_device_memory_bytes", "Accelerator memory in use; absent on a CPU", "device"
        )

        self.gpu_busy, self.gpu_used, self.gpu_total, self.gpu_watts = (
            gauge(f"ntm_gpu_{name}", what, "gpu", "uuid")
            for name, what in (
                ("busy_ratio", "Share of the last moment that the GPU computed"),
                ("memory_used_bytes", "Memory in use on the GPU, whoever uses it"),
                ("memory_total_bytes", "Memory of the GPU"),
                ("power_watts", "Power that the GPU draws"),
            )
        )
        self.totals, self.usage = ModelTotals(registry), Usage("engine", registry)

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

    def loaded(self, model: str, seconds: float) -> None:
        """A session was read from the store."""
        self.restores.labels(model, "store").inc()
        self.load_seconds.observe(seconds)

    def text(self) -> bytes:
        """The Prometheus exposition."""
        return generate_latest(self.registry)
