"""Work of the engine that takes more than one turn of its event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from service import request_ids
from service.engine.job import Ticket
from service.errors import CommitUnknown, Internal, NtmError, StoreAway
from service.store.store import StoreUnavailable

log = logging.getLogger("ntm.engine")


class Tasks:
    """Holds on to what is under way, which the event loop itself does not."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """Is anything under way?"""
        return bool(self._tasks)

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Work that tells nobody how it went."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def begin_for(self, ticket: Ticket, work: Coroutine[Any, Any, None]) -> None:
        """Work that answers a ticket itself, but for an error."""
        self.begin(_guarded(ticket, work))


def at_once(work: Coroutine[Any, Any, None]) -> None:
    """Do what waits for nothing: a task and a turn of the loop would cost more than the work.

    What does wait is broken off, by a RuntimeError raised where it waits.
    """
    try:
        work.send(None)
        work.throw(RuntimeError("expected work that waits for nothing"))
    except StopIteration:
        return


async def _guarded(ticket: Ticket, work: Coroutine[Any, Any, None]) -> None:
    request_ids.current.set(ticket.request_id)  # of this task alone
    try:
        await work
    except NtmError as error:
        ticket.fail(error)
    except StoreUnavailable as error:
        said = f"{error}: retry with the key" if error.sent else str(error)
        ticket.fail(CommitUnknown(said) if error.sent else StoreAway(said))
    except Exception as error:  # a defect costs its caller, nobody else
        log.exception("a call failed")
        ticket.fail(Internal(f"the call failed: {type(error).__name__}"))
