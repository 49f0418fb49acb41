"""Cuts a connection whose other end reads nothing of what it is sent."""

from __future__ import annotations

import asyncio

STALL_S = 30.0  # without a byte taken


class Stall:
    """Watches one connection between its transport's pause_writing and resume_writing."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, transport: asyncio.Transport) -> None:
        """More waits to be sent than the transport likes."""
        self.end()
        left = transport.get_write_buffer_size()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(STALL_S, self._look, transport, left)

    def end(self) -> None:
        """The other end reads, or is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, transport: asyncio.Transport, left: int) -> None:
        if transport.get_write_buffer_size() < left:
            self.begin(transport)
        else:
            transport.abort()
