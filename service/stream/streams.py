"""The streams that one front has open: how many, and the word that the front stops."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

from prometheus_client import Gauge

from service.errors import TooManyStreams
from service.settings import Settings

T = TypeVar("T")


class Streams:
    """Counts streams against their limit, and ends their waiting when the front stops."""

    def __init__(self, settings: Settings, gauge: Gauge, draining: asyncio.Event) -> None:
        self._most, self._gauge, self._draining = settings.max_streams, gauge, draining
        self._most_a_tenant = settings.tenant_streams if settings.keys else self._most
        self._open: Counter[str] = Counter()  # by tenant

    @contextmanager
    def opened(self, kind: str, tenant: str) -> Generator[None]:
        """One more stream of a tenant. Raises TooManyStreams."""
        if self._open.total() >= self._most:
            raise _too_many(f"at most {self._most} open streams")
        if self._open[tenant] >= self._most_a_tenant:
            raise _too_many(
                f"at most {self._most_a_tenant} open streams of a tenant (NTM_TENANT_STREAMS)"
            )
        self._open[tenant] += 1
        self._gauge.labels(kind).inc()
        try:
            yield
        finally:
            self._open[tenant] -= 1
            self._gauge.labels(kind).dec()

    async def unless_draining(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What the work gives; None where the front stops first, and then it is cancelled."""
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            task.cancel()
            stop.cancel()


def _too_many(expected: str) -> TooManyStreams:
    got = "one more"
    return TooManyStreams(f"expected {expected}, got {got}", expected=expected, got=got)
