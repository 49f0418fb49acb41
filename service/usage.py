"""What this process itself takes, told at a scrape: processor, memory, since when."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from time import process_time, time

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

STATM = Path("/proc/self/statm")


class Usage:
    """Three metrics of a process of this kind, "front" or "engine", which `registry` exposes."""

    def __init__(self, kind: str, registry: CollectorRegistry) -> None:
        self._kind, self._began = kind, time()
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client's Collector."""
        name, of = f"ntm_{self._kind}", f"the {self._kind} process"
        yield CounterMetricFamily(
            f"{name}_cpu_seconds", f"Processor time of all threads of {of}", process_time()
        )
        resident = GaugeMetricFamily(f"{name}_resident_bytes", f"Memory that {of} holds")
        with suppress(OSError):  # no Linux
            pages = int(STATM.read_text().split()[1])
            resident.add_metric((), pages * os.sysconf("SC_PAGE_SIZE"))
        yield resident
        yield GaugeMetricFamily(
            f"{name}_start_seconds", f"When {of} began, in Unix time", self._began
        )
