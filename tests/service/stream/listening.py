"""Reads a session's events as a client does, in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx
import msgspec

PATIENCE_S = 30.0


class Told(NamedTuple):
    """One event. id: None where it has none."""

    name: str
    data: dict[str, Any]
    id: str | None


class Listener:
    """The events of one stream, in order. `begun`: the id that it began with."""

    def __init__(self, response: httpx.Response) -> None:
        self._response, self._told = response, queue.Queue[Told | None]()
        self._begun: queue.Queue[str] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self.begun = self._begun.get(timeout=PATIENCE_S)

    def next(self) -> Told | None:
        """The next event; None where the stream has ended."""
        return self._told.get(timeout=PATIENCE_S)

    def take(self, count: int) -> list[Told]:
        """The next events."""
        found = [self.next() for _ in range(count)]
        assert None not in found, found
        return [told for told in found if told is not None]

    def _read(self) -> None:
        fields: dict[str, str] = {}
        try:
            for line in self._response.iter_lines():
                name, _, value = line.partition(":")
                if line and name:
                    fields[name] = value.removeprefix(" ")
                elif not line and fields:
                    self._tell(fields)
                    fields = {}
        except httpx.TransportError:
            pass  # the test closed it, or killed the server
        self._told.put(None)

    def _tell(self, fields: dict[str, str]) -> None:
        if "event" in fields:
            data = msgspec.json.decode(fields["data"])
            self._told.put(Told(fields["event"], data, fields.get("id")))
        else:
            self._begun.put(fields["id"])


@contextmanager
def listening(
    server_url: str,
    session: str,
    last: str | None = None,
    headers: dict[str, str] | None = None,
    **query: str,
) -> Iterator[Listener]:
    """The events of a session's path, from an event on where one is given."""
    headers = (headers or {}) | ({} if last is None else {"last-event-id": last})
    with (
        httpx.Client(base_url=server_url, timeout=PATIENCE_S) as client,
        client.stream("GET", f"{session}/events", params=query, headers=headers) as response,
    ):
        if response.status_code != 200:
            raise AssertionError(response.read().decode())
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Listener(response)
