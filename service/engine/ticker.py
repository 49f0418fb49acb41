"""When the next tick comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context

NOBODYS = Context()  # a tick is of many requests: its log lines carry the id of none


class Ticker:
    """Has `tick` called once for all the kicks before it, in the next turn of the loop.

    `with ticker:` calls are taken in that came together: their tick comes as soon as all are,
    unless one is due anyway. A step that is alone would lose more by waiting than a batch could
    gain it.
    """

    __slots__ = ("_due", "_gathering", "_held", "_tick")

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick
        self._due = False
        self._gathering = self._held = False  # what came together; the tick that waits for all

    def kick(self) -> None:
        """There is something to run."""
        if self._due:
            return
        self._due = True
        if self._gathering:
            self._held = True
        else:
            asyncio.get_running_loop().call_soon(self._begin, context=NOBODYS)

    def __enter__(self) -> None:
        self._gathering = True

    def __exit__(self, *_: object) -> None:
        held, self._gathering, self._held = self._held, False, False
        if held:
            self._begin()

    def _begin(self) -> None:
        self._due = False
        self._tick()
