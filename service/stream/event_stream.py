"""An answer that goes on: a session's events, for as long as somebody reads them.

Nothing is kept for a watcher. He is sent what the engine finds after the revision that he has, and
only then is the engine asked again; so one who reads slowly is merely behind, and is told by
`missed` what the history did not keep until he came to it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
from litestar.response.base import ASGIResponse

from service.errors import (
    ClientGone,
    DeadlineExceeded,
    Draining,
    EngineUnavailable,
    Internal,
    NtmError,
    StoreAway,
)
from service.front_state import FrontState
from service.keys import Identity
from service.pending import Receive
from service.requests import Watch
from service.results import Watched
from service.stream import events

WATCHED = msgspec.msgpack.Decoder(Watched)
KEEP_ALIVE_S = 15.0  # between comments where nothing happens
GATHER_S = 0.1  # after what was told, so that who steps fast is told of in bunches
AWAY_S = 1.0  # between two tries while the engine or the store is away
AWAY = (EngineUnavailable, Draining, StoreAway, DeadlineExceeded)
RETRY_MS = 1000  # after which a client that lost the stream comes again
HEAD = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),  # a proxy that gathers an answer would hold events back
]

log = logging.getLogger("ntm.front")


class Subject(msgspec.Struct, frozen=True):
    """What is watched, from where on, and what is told of it."""

    identity: Identity
    session: str
    after: tuple[str, int] | None
    include: frozenset[str]

    def question(self, after: tuple[str, int] | None, seen: int | None, wait_s: float) -> Watch:
        """What the engine is asked."""
        roles = tuple(role for name in sorted(self.include) for role in events.ROLES.get(name, ()))
        rows = "rows" in self.include
        return Watch(self.identity.tenant, self.session, after, seen, wait_s, rows, roles)


class EventStream(ASGIResponse):
    """The events of one session."""

    def __init__(self, front: FrontState, subject: Subject, request_id: str) -> None:
        self._front, self._subject, self._request_id = front, subject, request_id
        self.status_code = 200

    async def __call__(self, scope: Any, receive: Receive, send: Any) -> None:
        """See ASGI. Raises NtmError before the answer has begun, and only then."""
        with self._front.streams.opened("events", self._subject.identity.tenant):
            found = await self._ask(receive, self._subject.after, None, 0.0)
            if found.ended is not None:
                raise events.ended(self._subject.session, found.ended)
            await send({"type": "http.response.start", "status": 200, "headers": HEAD})
            try:
                await self._tell(receive, send, found)
            except ClientGone:
                return
            except NtmError as error:
                self._front.metrics.errors.labels(error.code).inc()
                if isinstance(error, Internal):
                    log.error("an event stream failed: %s", error)
                problem = msgspec.Raw(error.to_body(self._request_id))
                await self._send(send, events.Event("failed", problem).text())
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _tell(self, receive: Receive, send: Any, found: Watched) -> None:
        after = self._subject.after or (found.incarnation, found.revision)
        await self._send(send, f"retry: {RETRY_MS}\nid: {after[0]}-{after[1]}\n\n".encode())
        while True:
            self._front.gate.stay(self._subject.identity)
            said = list(events.of(found, after[1], self._subject.include))
            for event in said:
                self._front.metrics.events.labels(event.name).inc()
                await self._send(send, event.text())
            if found.ended is not None or self._front.draining.is_set():
                return
            if not said:
                await self._send(send, b": nothing new\n\n")
            if found.records:
                after = (found.incarnation, found.records[-1].record.revision)
            if said and after[1] >= found.revision:
                await self._front.streams.unless_draining(asyncio.sleep(GATHER_S))
            found = await self._next(receive, after, found)

    async def _next(self, receive: Receive, after: tuple[str, int], found: Watched) -> Watched:
        """What there is after that; nothing where it takes long, or where the front stops."""
        nothing = msgspec.structs.replace(found, records=[], notices=[])
        try:
            work = self._ask(receive, after, found.seen, KEEP_ALIVE_S)
            return await self._front.streams.unless_draining(work) or nothing
        except AWAY:
            await self._front.streams.unless_draining(asyncio.sleep(AWAY_S))
            return nothing

    async def _ask(
        self, receive: Receive, after: tuple[str, int] | None, seen: int | None, wait_s: float
    ) -> Watched:
        return await self._front.link.call(
            WATCHED,
            self._subject.question(after, seen, wait_s),
            request_id=self._request_id,
            receive=receive,
            timeout_s=wait_s + self._front.settings.request_timeout_s,
        )

    async def _send(self, send: Any, data: bytes) -> None:
        await send({"type": "http.response.body", "body": data, "more_body": True})
