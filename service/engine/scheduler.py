"""Which rows run next. Pure: no clock, no threads, no I/O.

A request is a `Work`: some rows of one session, or of none (a stateless prediction). A session's
works run one after the other; works of different sessions share batches, and join and leave
between ticks (cellular batching). Turns go round the tenants, and within a tenant round the
works, so neither a busy tenant nor a long request holds up the rest. A tenant's urgent works come
before its others; they take no turn from another tenant.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from heapq import heappop, heappush
from itertools import count
from typing import Generic, Literal, Protocol, TypeVar

ORDER = count(1)


class Full(Exception):
    """No more works are taken in until some have finished. most: how many may wait."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most


class TenantFull(Full):
    """No more works of this tenant are taken in until some of it have finished."""


class Work(Protocol):
    """One request's rows. `session` is None where no other work can concern the same state."""

    tenant: str
    urgency: int  # 0 is the most urgent
    left: int  # rows to run
    started: bool  # it has entered a batch and holds its slots
    ended: bool  # the scheduler has let go of it

    @property
    def session(self) -> Hashable | None: ...


W = TypeVar("W", bound=Work)


class Ready(list[tuple[int, int, W]]):
    """A tenant's works that may run: the most urgent first, equally urgent ones in turn.

    A heap by urgency and then by a number, which rises with each that is added.
    """

    __slots__ = ()

    def add(self, work: W) -> None:
        """Behind those that are as urgent."""
        heappush(self, (work.urgency, next(ORDER), work))

    def put_back(self, work: W) -> None:
        """Before those that are as urgent."""
        heappush(self, (work.urgency, -next(ORDER), work))

    def take(self) -> W:
        """The next. Raises IndexError where there is none."""
        return heappop(self)[2]


Limit = Literal["size", "slots", "sessions", "queue"]


class Scheduler(Generic[W]):
    """The queue of one model.

    max_batch: works a tick; max_queue: works admitted and not finished, of all tenants and, of
    one, the share of them; max_rows: rows of each work a tick, where all in the batch have as many.

    limit: why the last batch was no larger. size: it had max_batch works; slots: no more could be
    placed; sessions: all that waited did so for an earlier work of their session; queue: nothing
    waited.
    """

    def __init__(
        self, max_batch: int, max_queue: int, max_rows: int = 16, tenant_share: float = 1.0
    ) -> None:
        self.max_batch, self.max_queue, self.max_rows = max_batch, max_queue, max_rows
        self._most_a_tenant = max(1, int(max_queue * tenant_share))
        self._admitted: dict[str, int] = {}  # by tenant
        self._turns: dict[str, Ready[W]] = {}  # tenants in turn
        self._lines: dict[Hashable, list[W]] = {}  # session -> its works, the first is ready
        self._behind = 0  # works that are not the first of their line
        self.limit: Limit = "queue"
        self.admitted = 0
        self.ready = 0  # queued; one finished meanwhile counts until its turn has come

    def admit(self, work: W) -> None:
        """Queue a work. Raises Full, and TenantFull where its tenant has its share."""
        if self.admitted >= self.max_queue:
            raise Full(self.max_queue)
        mine = self._admitted.get(work.tenant, 0)
        if mine >= self._most_a_tenant:
            raise TenantFull(self._most_a_tenant)
        self.admitted += 1
        self._admitted[work.tenant] = mine + 1
        if work.session is not None:
            line = self._lines.get(work.session)
            if line is not None:
                line.append(work)
                self._behind += 1
                return
            self._lines[work.session] = [work]
        self._enqueue(work)

    def next_batch(self, place: Callable[[W], bool]) -> tuple[list[W], int]:
        """The works of the next tick and how many rows of each.

        `place` gives a work the slots it needs, or says False; a work refused keeps its turn and
        is asked first at the next tick, and only works that hold slots join after a refusal.
        It may finish the work it is asked for, which then refuses nobody else.
        Every work returned must be handed back by `more` or `finish`.
        """
        batch, refused = self._fill(place)
        self.ready -= len(batch)
        if len(batch) == self.max_batch:
            self.limit = "size"
        elif refused:
            self.limit = "slots"
        else:
            self.limit = "sessions" if self._behind else "queue"
        if self._turns:
            self._rotate(batch)
        if refused:
            self._put_back(refused)
        return batch, min([self.max_rows, *[work.left for work in batch]]) if batch else 0

    def waiting(self) -> Iterator[W]:
        """All works that are admitted and not ended, but for those of no session in a batch."""
        for line in self._lines.values():
            yield from line
        for turns in self._turns.values():
            yield from (work for *_, work in turns if work.session is None and not work.ended)

    def more(self, work: W) -> None:
        """The work ran in a batch and has rows left."""
        self._enqueue(work)

    def finish(self, work: W) -> None:
        """The work is done, failed or given up: the session's next may run.

        Also for a work that never ran. Finishing one twice does nothing.
        """
        if work.ended:
            return
        work.ended = True
        self.admitted -= 1
        mine = self._admitted.pop(work.tenant) - 1
        if mine:
            self._admitted[work.tenant] = mine
        if work.session is None:
            return
        line = self._lines[work.session]
        first = line[0] is work
        line.remove(work)
        if not first:
            self._behind -= 1
        elif line:
            self._behind -= 1
            self._enqueue(line[0])
        else:
            del self._lines[work.session]

    def _enqueue(self, work: W) -> None:
        turns = self._turns.get(work.tenant)
        if turns is None:
            turns = self._turns[work.tenant] = Ready()
        turns.add(work)
        self.ready += 1

    def _fill(self, place: Callable[[W], bool]) -> tuple[list[W], list[W]]:
        """The works of a batch, and those that were refused. All of both are out of the queue."""
        batch: list[W] = []
        refused: list[W] = []
        tenants = list(self._turns)
        for tenant in tenants:
            if len(batch) == self.max_batch:
                break
            queue = self._turns[tenant]
            work = queue.take()
            if not work.ended and (work.started or (not refused and place(work))):
                work.started = True
                batch.append(work)
            elif not work.ended:
                refused.append(work)
            else:
                self.ready -= 1
            if queue:
                tenants.append(tenant)  # whose turn comes again behind the others'
            else:
                del self._turns[tenant]
        return batch, refused

    def _rotate(self, batch: list[W]) -> None:
        # Who was served last goes to the end of the round; who has nothing queued leaves it.
        for work in batch:
            queue = self._turns.pop(work.tenant, None)
            if queue:
                self._turns[work.tenant] = queue

    def _put_back(self, refused: list[W]) -> None:
        # The first refused is the first to be asked again, and its tenant the first of the round.
        first: dict[str, Ready[W]] = {}
        for work in refused:
            if work.tenant not in first:
                first[work.tenant] = self._turns.pop(work.tenant, None) or Ready()
        for work in reversed(refused):
            first[work.tenant].put_back(work)
        self._turns = first | self._turns
