"""A front's own metrics, and one exposition of all fronts and the engine.

The engine counts what it does (service/engine/metrics.py); a front counts HTTP. With several
fronts a scrape reaches one of them, so each writes its samples to a file beside the engine's
socket, and the one that is asked reads the others' and tells them apart by the label `front`.
No session is ever a label, and a path only as its template.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import Metric

from service.errors import CommitUnknown, StateDamaged, StoreAway, StoreRolledBack
from service.tally import Sums, Tallies
from service.usage import Usage
from service.versions import package_version as package_version

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
UNMATCHED = "unmatched"
# Told from the beginning, at 0: of a counter that begins at 1 Prometheus sees no increase.
FORETOLD = (CommitUnknown, StateDamaged, StoreAway, StoreRolledBack)
CONTENT_TYPE = "text/plain; version=0.0.4"  # Litestar adds the charset


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One line of an exposition."""

    name: str
    labels: dict[str, str]
    value: float


class Family(msgspec.Struct, frozen=True, array_like=True):
    """A metric with its samples, as one front writes them for the others."""

    name: str
    documentation: str
    kind: str
    samples: list[Sample]


_FAMILIES = msgspec.msgpack.Decoder(list[Family])


class FrontMetrics:
    """One registry an app. `front` is this process's number; `folder` where the others' are."""

    def __init__(self, front: int = 0, folder: Path | None = None) -> None:
        self.front, self.folder = front, folder
        self.registry = registry = CollectorRegistry()
        self.requests = Sums(
            "ntm_http_requests_total", "Requests answered", ("method", "route", "status"), registry
        )
        self.seconds = Tallies(
            "ntm_http_request_seconds", "From a request's headers to the end of its answer",
            ("route",), SECONDS, registry,
        )  # fmt: skip

        self.grpc_requests = Counter(
            "ntm_grpc_requests_total", "Requests answered over gRPC, each of a stream's too",
            ["method", "code"], registry=registry,
        )  # fmt: skip
        self.grpc_seconds = Histogram(
            "ntm_grpc_request_seconds", "From a gRPC message to its answer", ["method"],
            registry=registry, buckets=SECONDS,
        )  # fmt: skip

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(name, what, labels, registry=registry)

        self.in_flight = 0
        in_flight = gauge("ntm_http_requests_in_flight", "Requests not answered yet")
        in_flight.set_function(lambda: self.in_flight)
        self.errors = Counter(
            "ntm_errors_total", "Errors answered, by code", ["code"], registry=registry
        )
        for kind in FORETOLD:
            self.errors.labels(kind.code)
        self.streams = gauge("ntm_streams", "Open streams", "kind")
        for kind in ("websocket", "events", "grpc"):
            self.streams.labels(kind)
        self.events = Counter("ntm_events_total", "Events sent", ["event"], registry=registry)
        self.engine_up = gauge("ntm_engine_up", "1 where this front is connected to the engine")
        self.keys_current = gauge(
            "ntm_keys_current", "1 where the keys in force are those of the file as it is now"
        )
        build = gauge("ntm_build_info", "1; versions as labels", "version", "python")
        build.labels(package_version(), platform.python_version()).set(1)
        self.usage = Usage("front", registry)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request of this route's template got this status."""
        method = method if method in METHODS else "other"
        self.requests.labels(method, route, str(status)).value += 1
        self.seconds.labels(route).observe(seconds)

    def answered_grpc(self, method: str, code: str, seconds: float) -> None:
        """A request of this gRPC method got this status code."""
        self.grpc_requests.labels(method, code).inc()
        self.grpc_seconds.labels(method).observe(seconds)

    def publish(self) -> None:
        """Write this front's samples where the others read them, whole or not at all."""
        if self.folder is None:
            return
        path = self.folder / f"front-{self.front}.metrics"
        fresh = path.with_suffix(".new")
        fresh.write_bytes(msgspec.msgpack.encode(list(self._own())))
        os.replace(fresh, path)

    def text(self) -> bytes:
        """The exposition of every front, each sample labelled with its front's number."""
        merged = CollectorRegistry()
        merged.register(_Merged({self.front: list(self._own()), **self._others()}))
        return generate_latest(merged)

    def _own(self) -> Iterator[Family]:
        for metric in self.registry.collect():
            samples = [
                Sample(sample.name, dict(sample.labels), sample.value)
                for sample in metric.samples
                if not sample.name.endswith("_created")
            ]
            yield Family(metric.name, metric.documentation, metric.type, samples)

    def _others(self) -> dict[int, list[Family]]:
        found: dict[int, list[Family]] = {}
        for path in sorted(self.folder.glob("front-*.metrics")) if self.folder else ():
            number = int(path.stem.removeprefix("front-"))
            if number != self.front:
                with contextlib.suppress(OSError):
                    found[number] = _FAMILIES.decode(path.read_bytes())
        return found


class _Merged:
    """A collector of the families of all fronts."""

    def __init__(self, fronts: dict[int, list[Family]]) -> None:
        self._fronts = fronts

    def collect(self) -> Iterable[Metric]:
        """Each family once, with the samples of every front."""
        merged: dict[str, Metric] = {}
        for front, families in sorted(self._fronts.items()):
            for family in families:
                metric = merged.setdefault(
                    family.name, Metric(family.name, family.documentation, family.kind)
                )
                for sample in family.samples:
                    labels = {**sample.labels, "front": str(front)}
                    metric.add_sample(sample.name, labels, sample.value)
        return merged.values()
