"""A session's events across broken connections, without the I/O."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from service.client import calls
from service.client.answers import Event
from service.client.backoff import Retries
from service.client.core import Core
from service.client.errors import ApiError, NoAnswer
from service.client.exchange import Call, Lost, Reply, failure, passes
from service.client.server_sent import LAST, Parser, event_of

SILENCE_S = 45.0  # the server sends a comment at least every 15 s


class Watching:
    """Says what to ask for, takes what comes, and says how long to wait before asking again."""

    def __init__(
        self,
        core: Core,
        session: str,
        include: tuple[str, ...],
        after: str | None,
        retries: Retries | None,
    ) -> None:
        self._call = calls.get("sessions", session, "events", include=",".join(include) or None)
        self._parser, self._backoff = Parser(after), core.backoff(retries)
        self.timeout_s = max(core.config.timeout_s, SILENCE_S)
        self.ended = False

    @property
    def call(self) -> Call:
        """The request of the next connection: it goes on behind what was told."""
        headers = {"accept": "text/event-stream", "cache-control": "no-store"}
        if self._parser.last_id:
            headers["last-event-id"] = self._parser.last_id
        return msgspec.structs.replace(self._call, headers=headers)

    def feed(self, piece: bytes) -> Iterator[Event]:
        """The events that these bytes complete. Raises ApiError, BadAnswer."""
        self._backoff.begin_anew()  # the connection is a good one
        for name, data, id in self._parser.feed(piece):
            event = event_of(name, data, id)
            self.ended = event.name in LAST
            yield event

    def pause(self, answer: Reply | Lost) -> float:
        """Seconds until the next connection, after one that was refused, broke or ended.

        Raises ApiError and NoAnswer where there is to be none.
        """
        self._parser.begin_anew()
        error = failure(answer)
        asked = error.retry_after_s if isinstance(error, ApiError) else 0.0
        asked = max(asked, self._parser.retry_s or 0.0)
        fit = passes(error) if isinstance(error, ApiError) else not _hopeless(answer)
        pause = self._backoff.pause(asked) if fit else None
        if pause is None:
            if isinstance(error, NoAnswer):
                error.maybe_done = False  # there was nothing to do
            raise error
        return pause


def _hopeless(answer: Reply | Lost) -> bool:
    return isinstance(answer, Lost) and answer.hopeless
