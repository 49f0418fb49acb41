"""The engine's metrics: queue, batches, sessions, state. No session is ever a label."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from service.engine.model_totals import ModelTotals
from service.tally import Sums, Tallies
from service.usage import Usage

SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10,
)  # fmt: skip
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class EngineMetrics:
    """One registry an engine."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._evicted: dict[tuple[str, str], Counter] = {}
        self._of_batches()
        self._of_queues()
        self._of_sessions()
        self._of_the_store()
        self._of_devices()
        self.totals, self.usage = ModelTotals(self.registry), Usage("engine", self.registry)

    def _of_batches(self) -> None:
        self.queue_seconds = self._histogram(
            "ntm_queue_seconds", "From a request's admission to its first batch", SECONDS
        )
        self.step_seconds = self._histogram(
            "ntm_step_seconds", "One batch in the runtime, gather and scatter included", SECONDS
        )
        self.commit_seconds = Tallies(
            "ntm_commit_seconds", "One commit of a tick's changes", (), SECONDS, self.registry
        ).labels()
        self.batch_size = self._histogram("ntm_batch_size", "Requests in one batch", SIZES)
        self.batches = Sums(
            "ntm_batches_total", "Batches by why they were no larger", ("model", "limit"),
            self.registry,
        )  # fmt: skip
        self.rows = Sums("ntm_rows_total", "Rows run", ("model",), self.registry)

    def _of_queues(self) -> None:
        self.queue_depth = self._gauge(
            "ntm_queue_depth", "Requests admitted, not finished", "model"
        )
        self.queue_limit = self._gauge("ntm_queue_limit", "NTM_MAX_QUEUE of its versions", "model")
        self.batch_limit = self._gauge("ntm_batch_limit", "NTM_MAX_BATCH", "model")
        self.slots = self._gauge("ntm_slots", "States that the device has room for", "model")
        self.pending = self._gauge(
            "ntm_model_pending", "Requests waiting for their first batch", "model", "version"
        )

    def _of_sessions(self) -> None:
        self.sessions = self._gauge(
            "ntm_sessions", "Live sessions by where their state is", "state"
        )
        self.state_bytes = self._gauge("ntm_state_bytes", "Bytes of session state by tier", "tier")
        self.live_sessions = self._gauge(
            "ntm_live_sessions", "Live sessions in the store, everybody's on a shared one", "store"
        )
        self.model_sessions = self._gauge(
            "ntm_model_sessions", "Those of them on this model", "model", "version"
        )
        self.evictions = self._counter(
            "ntm_evictions_total", "Sessions put off the device", "model", "reason"
        )
        self.restores = self._counter(
            "ntm_restores_total", "Sessions brought back: host, to the device; store, to the host",
            "model", "source",
        )  # fmt: skip
        self.load_seconds = Tallies(
            "ntm_load_seconds", "One session read from the store, rows run again included",
            (), SECONDS, self.registry,
        ).labels()  # fmt: skip
        self.expiries = self._counter("ntm_expiries_total", "Sessions ended", "reason")
        self.conflicts = self._counter(
            "ntm_commit_conflicts_total", "Changes not written, another revision was stored"
        )
        self.damaged = self._counter("ntm_damaged_total", "Sessions found damaged in the store")

    def _of_the_store(self) -> None:
        self.store_up = self._gauge("ntm_store_up", "1 where the store answers", "store")
        self.store_bytes = self._gauge("ntm_store_bytes", "What the store takes up", "store")
        self.store_free_bytes = self._gauge(
            "ntm_store_free_bytes", "What is left to the store", "store"
        )
        self.store_limit_bytes = self._gauge(
            "ntm_store_limit_bytes", "What there is of it: the disk, or Redis's maxmemory", "store"
        )

    def _of_devices(self) -> None:
        self.models = self._gauge(
            "ntm_model_info", "1 a loaded model", "model", "version", "family", "runtime", "device"
        )
        self.device_bytes = self._gauge(
            "ntm_device_memory_bytes", "Accelerator memory in use; absent on a CPU", "device"
        )

        self.gpu_busy, self.gpu_used, self.gpu_total, self.gpu_watts = (
            self._gauge(f"ntm_gpu_{name}", what, "gpu", "uuid")
            for name, what in (
                ("busy_ratio", "Share of the last moment that the GPU computed"),
                ("memory_used_bytes", "Memory in use on the GPU, whoever uses it"),
                ("memory_total_bytes", "Memory of the GPU"),
                ("power_watts", "Power that the GPU draws"),
            )
        )

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(name, what, labels, registry=self.registry)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(name, what, labels, registry=self.registry)

    def _histogram(self, name: str, what: str, bounds: tuple[float, ...]) -> Tallies:
        return Tallies(name, what, ("model",), bounds, self.registry)

    def queued(self, model: str, seconds: Iterable[float]) -> None:
        """Jobs entered their first batch."""
        queue = self.queue_seconds.labels(model)
        for each in seconds:
            queue.observe(each)

    def ticked(self, model: str, size: int, rows: int, seconds: float, limit: str) -> None:
        """A batch of `size` jobs ran `rows` rows each. limit: why there were no more."""
        self.batches.labels(model, limit).value += 1
        self.step_seconds.labels(model).observe(seconds)
        self.batch_size.labels(model).observe(size)
        self.rows.labels(model).value += size * rows

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
