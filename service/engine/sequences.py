"""Rows of sequences: sessions that begin with a first row and end with a last one.

A row between is a step like any other. A first row runs on a session that is nobody's yet, and
what it replaces ends, the new session begins and its row is committed in one go: a start that
fails changes nothing. A last row leaves a tombstone with its answer (farewell.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from time import monotonic
from typing import Any, NoReturn

from msgspec.structs import replace

from service.engine import farewell
from service.engine.commit import result_of
from service.engine.creation import new_row
from service.engine.hosts import named
from service.engine.job import Job, Ticket
from service.engine.sessions import Session
from service.engine.stepper import Stepper
from service.engine.tasks import Tasks
from service.errors import (
    ClientGone,
    DeadlineExceeded,
    InvalidRequest,
    ModelNotLoaded,
    NtmError,
    SequenceEnded,
    SequenceExpired,
    SequenceNotStarted,
    SessionExpired,
    SessionNotFound,
)
from service.requests import Sequence
from service.results import StepsResult
from service.store.store import Change, Checkpoint, Gone, Record, SessionKey, SessionRow


class Beginning:
    """Waits for a first row. None: the store has moved, so it must be tried again."""

    def __init__(self, ticket: Ticket) -> None:
        self.job: Job | None = None
        self.request_id, self.trace = ticket.request_id, ticket.trace
        self.done: asyncio.Future[StepsResult | None] = asyncio.get_running_loop().create_future()

    def reply(self, result: Any) -> None:
        """See `Ticket`."""
        if not self.done.done():
            self.done.set_result(result)

    def fail(self, error: NtmError) -> None:
        """See `Ticket`."""
        if not self.done.done():
            self.done.set_exception(error)


class Turn:
    """Rows of one sequence that cannot be taken in at once, in the order they came."""

    def __init__(self) -> None:
        self.lock, self.users = asyncio.Lock(), 0


class Sequences:
    """Takes the rows of sequences in, over the stepper that runs them."""

    def __init__(self, stepper: Stepper, tasks: Tasks) -> None:
        self._stepper, self._life, self._tasks = stepper, stepper.life, tasks
        self._turns: dict[SessionKey, Turn] = {}
        self._gone: dict[Ticket, Callable[[], None]] = {}  # what to do where the client goes away

    def take(self, request: Sequence, timeout_s: float, ticket: Ticket) -> None:
        """Begin a row. Raises NtmError, or tells the ticket later."""
        steps = request.steps
        session = self._life.held(steps.tenant, steps.session)
        busy = SessionKey(steps.tenant, steps.session) in self._turns
        if session is None or busy or request.start:
            self._stepper.opening.add(ticket)
            work = self._in_turn(request, monotonic() + timeout_s, ticket)
            self._tasks.begin_for(ticket, work)
        else:
            self._row(request, session, timeout_s, ticket)

    def cancel(self, ticket: Ticket) -> None:
        """The client has gone: a first row is given up, unless it is committing."""
        self._stepper.opening.discard(ticket)
        if ticket in self._gone:
            self._gone[ticket]()

    def _row(self, request: Sequence, session: Session, timeout_s: float, ticket: Ticket) -> None:
        if request.version not in (None, session.row.version):
            raise InvalidRequest(
                f"{request.name}: expected version {session.row.version}, which it runs on, "
                f"got {request.version}",
                expected=session.row.version,
                got=request.version,
            )
        steps = request.steps
        if steps.session != session.row.id:
            # The user's own, and a step that runs anew must find it.
            steps = replace(steps, session=session.row.id)
        self._stepper.run(steps, session, timeout_s, ticket)

    async def _in_turn(self, request: Sequence, deadline: float, ticket: Ticket) -> None:
        try:
            async with self._turn(SessionKey(request.steps.tenant, request.steps.session)):
                if request.start:
                    ticket.reply(await self._start(request, deadline, ticket))
                    return
                found = await self._found(request)
                if isinstance(found, Session):
                    self._row(request, found, self._left(deadline, ticket), ticket)
                elif isinstance(found, StepsResult):
                    ticket.reply(found)
                elif isinstance(found, Gone):
                    _refuse(request, found.reason)
                else:
                    raise ModelNotLoaded(f"{request.name} runs on {found.model} {found.version}")
        finally:
            self._stepper.opening.discard(ticket)

    async def _start(self, request: Sequence, deadline: float, ticket: Ticket) -> StepsResult:
        while True:
            old = await self._found(request)
            if isinstance(old, StepsResult):
                return old
            if isinstance(old, Session):
                record = old.replies.get(request.steps.guard.key or "")
                if record and record.fingerprint == request.steps.guard.fingerprint:
                    return result_of(old, record, replayed=True)
                before = list(old.jobs)
                while not all(job.ended for job in before):
                    await self._another(old, self._left(deadline, ticket), ticket)
            done = await self._begin(request, old, self._left(deadline, ticket), ticket)
            if done is not None:
                return done

    async def _another(self, session: Session, timeout_s: float, ticket: Ticket) -> None:
        """Wait until a job of the session has ended, the client has gone or the time is over."""
        ended = session.next_end()
        self._gone[ticket] = session.wake
        try:
            await asyncio.wait([ended], timeout=timeout_s)
        finally:
            del self._gone[ticket]

    async def _begin(
        self,
        request: Sequence,
        old: Session | SessionRow | Gone,
        timeout_s: float,
        ticket: Ticket,
    ) -> StepsResult | None:
        life, steps = self._life, request.steps
        host = named(life.hosts, request.model, request.version)
        row = new_row(steps.tenant, steps.session, host, life.settings.idle_ttl_s)
        born = Session(row, host, life.settings.kept_replies)
        first = [Change(row, None, Record("create", 1, 0), Checkpoint(1, 0, None))]
        if not isinstance(old, Gone):
            was = old.row if isinstance(old, Session) else old
            first.insert(0, Change(was, (was.incarnation, was.revision), ended="replaced"))
        beginning = Beginning(ticket)
        host.placement.put(born, None)
        room = life.quotas.room(steps.tenant, host) if isinstance(old, Gone) else nullcontext()
        try:
            async with room:
                self._stepper.run(steps, born, timeout_s, beginning, first)
                self._gone[ticket] = partial(self._stepper.cancel, beginning)
                return await beginning.done
        finally:
            self._gone.pop(ticket, None)
            if not life.is_held(born):
                host.placement.forget(born)

    async def _found(self, request: Sequence) -> Session | SessionRow | Gone | StepsResult:
        """The session, or its row where its model is not loaded, or that there is none, or the
        answer where its last row is repeated."""
        steps, life = request.steps, self._life
        try:
            return await life.open(steps.tenant, steps.session, fresh=request.start)
        except SessionExpired:
            return Gone("expired")
        except ModelNotLoaded:
            why = await life.store.row(SessionKey(steps.tenant, steps.session))
            if isinstance(why, SessionRow):
                return why
            raise
        except SessionNotFound:
            why = await life.store.row(SessionKey(steps.tenant, steps.session))
        reason = why.reason if isinstance(why, Gone) else None
        if repeat := farewell.repeat_of(reason, steps.guard):
            return repeat
        if reason is None and request.also is not None and not request.start:
            return await self._named_by_user(request, request.also)
        return Gone(reason)

    async def _named_by_user(self, request: Sequence, name: str) -> Session | Gone | StepsResult:
        """A session of the model that was begun under this very id, not as a sequence."""
        tenant, life = request.steps.tenant, self._life
        try:
            session = await life.open(tenant, name)
        except SessionExpired:
            return Gone("expired")
        except SessionNotFound:
            why = await life.store.row(SessionKey(tenant, name))
            reason = why.reason if isinstance(why, Gone) else None
            return farewell.repeat_of(reason, request.steps.guard) or Gone(reason)
        return session if session.row.model == request.model else Gone(None)

    def _left(self, deadline: float, ticket: Ticket) -> float:
        """Seconds left. Raises DeadlineExceeded, and ClientGone."""
        if ticket not in self._stepper.opening:
            raise ClientGone("the client went away")
        left = deadline - monotonic()
        if left <= 0:
            raise DeadlineExceeded("not done within its deadline")
        return left

    @asynccontextmanager
    async def _turn(self, key: SessionKey) -> AsyncGenerator[None]:
        turn = self._turns.setdefault(key, Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[key]


def _refuse(request: Sequence, reason: str | None) -> NoReturn:
    which = f"{request.name} of model {request.model!r}"
    if reason is None:
        raise SequenceNotStarted(
            f"{which} has not been started: its first row needs sequence_start"
        )
    if reason == "expired":
        raise SequenceExpired(f"{which} has expired: sequence_start begins it anew")
    raise SequenceEnded(f"{which} has ended: sequence_start begins it anew")
