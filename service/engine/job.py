"""One request's rows on their way through the engine, and whom to tell."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.errors import NtmError, TooManyRows, WrongShape
from service.requests import Guard, Predict, Steps

if TYPE_CHECKING:
    from service.engine.host import Host
    from service.engine.phases import Phases
    from service.engine.runtime import Floats, StepOutput
    from service.engine.sessions import Session
    from service.store.store import Change, SessionRow


class Ticket(Protocol):
    """Where one call's one answer goes. A second answer is dropped."""

    job: Job | None  # which it waits for
    request_id: str
    trace: str  # the call's: see service/messages.py

    def reply(self, result: Any) -> None:
        """Answer with a result struct."""
        ...

    def fail(self, error: NtmError) -> None:
        """Answer with an error."""
        ...


class Job:
    """Rows (T, X) for a session, or for nobody (a prediction). A `Work` of the scheduler.

    The rows stay what they came as, `count` times `row_bytes` of float32 in `rows`: a batch joins
    them, and a record keeps them.
    The first tick reads the session's committed slot and writes `working`; later ones read and
    write `working`, so giving a job up costs nothing but its slot.
    """

    __slots__ = (
        "admitted_at",
        "base",
        "before",
        "committing",
        "count",
        "deadline",
        "done",
        "ended",
        "guard",
        "host",
        "left",
        "outputs",
        "phases",
        "request",
        "row_bytes",
        "rows",
        "session",
        "started",
        "tenant",
        "tickets",
        "trace",
        "urgency",
        "watched",
        "working",
    )

    def __init__(
        self, request: Steps | Predict, session: Session | None, host: Host, timeout_s: float
    ) -> None:
        self.request, self.session, self.host = request, session, host
        self.rows, (self.count, width) = request.rows, request.dims
        self.row_bytes = 4 * width
        self.tenant, self.admitted_at = request.tenant, monotonic()
        self.deadline = self.admitted_at + timeout_s
        stateful = isinstance(request, Steps)
        self.guard = request.guard if stateful else Guard()
        self.trace = stateful and request.trace
        self.urgency, self.left = request.urgency, self.count
        self.started = self.ended = self.committing = False
        self.tickets: list[Ticket] = []
        self.working: int | None = None
        self.before: Sequence[Change] = ()  # what must be committed with it, first
        self.base: SessionRow | None = None  # where the session stood when its rows began to run
        self.done = 0
        self.outputs: list[Floats] = []
        self.watched: list[list[NDArray[Any]]] = []
        self.phases: Phases | None = None  # its spans, where it is traced

    def next_rows(self, count: int) -> bytes:
        """So many of those that have not run."""
        at = self.done * self.row_bytes
        return self.rows[at : at + count * self.row_bytes]

    def take(self, out: StepOutput, at: int) -> None:
        """Keep what its rows gave, which are the batch's member `at`."""
        y = out.y[at]
        self.outputs.append(y)
        self.done += len(y)
        self.left -= len(y)
        if self.trace:
            self.watched.append([array[at] for array in out.watched])

    def output(self) -> Floats:
        """All rows' outputs: (T, Y)."""
        return self.outputs[0] if len(self.outputs) == 1 else np.concatenate(self.outputs)

    def trace_arrays(self) -> list[NDArray[Any]]:
        """All rows' watched tensors: (T, *dims) each."""
        return [np.concatenate(parts) for parts in zip(*self.watched, strict=True)]

    def join(self, ticket: Ticket) -> None:
        """One more waits for this job."""
        ticket.job = self
        self.tickets.append(ticket)

    @property
    def request_ids(self) -> list[str]:
        """Of those who wait for it."""
        return [ticket.request_id for ticket in self.tickets]

    def leave(self, error: NtmError | None = None) -> list[Ticket]:
        """Those who waited for this job, and wait for it no longer; where it failed, by what."""
        if self.phases is not None:
            self.phases.end(error)
            self.phases = None
        tickets, self.tickets = self.tickets, []
        for ticket in tickets:
            ticket.job = None
        return tickets

    def reply(self, result: Any) -> None:
        """Answer everybody who waits."""
        for ticket in self.leave():
            ticket.reply(result)
        self.host.statistics.finished(self.admitted_at, ok=True)

    def fail(self, error: NtmError) -> None:
        """Tell everybody who waits."""
        for ticket in self.leave(error):
            ticket.fail(error)
        self.host.statistics.finished(self.admitted_at, ok=False)


def make_job(
    request: Steps | Predict,
    session: Session | None,
    host: Host,
    timeout_s: float,
    max_reply_bytes: int | None = None,
) -> Job:
    """A job of the request's rows.

    Raises WrongShape where they do not fit the model, TooManyRows where their outputs, which are
    kept for a repeat, would be more than `max_reply_bytes`.
    """
    rows, width = request.dims
    expected = host.manifest.input.dims[0]
    if width != expected:
        raise WrongShape(
            f"inputs: expected rows of {expected} numbers for model {host.manifest.name!r}, "
            f"got {width}",
            expected=expected,
            got=width,
        )
    if rows < 1 or len(request.rows) != rows * width * 4:
        raise WrongShape(f"inputs: expected at least one row, got {rows}")
    reply = rows * host.manifest.output.dims[0] * 4
    if max_reply_bytes is not None and reply > max_reply_bytes:
        raise TooManyRows(
            f"inputs: expected rows with at most {max_reply_bytes} bytes of outputs, got {rows} "
            f"rows with {reply}",
            expected=max_reply_bytes,
            got=reply,
        )
    return Job(request, session, host, timeout_s)
