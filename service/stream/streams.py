"""The streams that one front has open: how many, and the word that the front stops."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

from prometheus_client import Gauge

from service.errors import TooManyStreams

T = TypeVar("T")


class Streams:
    """Counts streams against their limit, and ends their waiting when the front stops."""

    def __init__(self, limit: int, gauge: Gauge, draining: asyncio.Event) -> None:
        self._limit, self._gauge, self._draining = limit, gauge, draining
        self._open = 0

    @contextmanager
    def opened(self, kind: str) -> Generator[None]:
        """One more stream. Raises TooManyStreams."""
        if self._open >= self._limit:
            expected, got = f"at most {self._limit} open streams", "one more"
            raise TooManyStreams(f"expected {expected}, got {got}", expected=expected, got=got)
        self._open += 1
        self._gauge.labels(kind).inc()
        try:
            yield
        finally:
            self._open -= 1
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
