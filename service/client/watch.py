"""A session's events, read from httpx: blocking, and awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from service.client import wire
from service.client.answers import Event
from service.client.backoff import Retries
from service.client.exchange import Lost, Reply
from service.client.watching import Watching

if TYPE_CHECKING:
    from service.client.aio import AsyncClient
    from service.client.client import Client

ENDED = Lost("the server ended the stream of events")


def events(
    client: Client,
    session: str,
    include: tuple[str, ...],
    after: str | None,
    retries: Retries | None,
) -> Iterator[Event]:
    """The events until the session ends. Raises NtmClientError."""
    watching = Watching(client.core, session, include, after, retries)
    while True:
        answer: Reply | Lost = ENDED
        call = watching.call
        try:
            with client.http.stream(
                call.method, call.path, params=call.query, headers=call.headers,
                timeout=watching.timeout_s,
            ) as response:  # fmt: skip
                if response.status_code == 200:
                    for piece in response.iter_bytes():
                        yield from watching.feed(piece)
                        if watching.ended:
                            return
                else:
                    response.read()
                    answer = wire.reply_of(response)
        except wire.FAILURES as error:
            answer = wire.lost(error)
        client.sleep(watching.pause(answer))


async def events_async(
    client: AsyncClient,
    session: str,
    include: tuple[str, ...],
    after: str | None,
    retries: Retries | None,
) -> AsyncIterator[Event]:
    """The same, awaited."""
    watching = Watching(client.core, session, include, after, retries)
    while True:
        answer: Reply | Lost = ENDED
        call = watching.call
        try:
            async with client.http.stream(
                call.method, call.path, params=call.query, headers=call.headers,
                timeout=watching.timeout_s,
            ) as response:  # fmt: skip
                if response.status_code == 200:
                    async for piece in response.aiter_bytes():
                        for event in watching.feed(piece):
                            yield event
                        if watching.ended:
                            return
                else:
                    await response.aread()
                    answer = wire.reply_of(response)
        except wire.FAILURES as error:
            answer = wire.lost(error)
        await client.sleep(watching.pause(answer))
