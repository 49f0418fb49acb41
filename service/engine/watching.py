"""What was done to a session after a revision, waited for: the answer to Watch.

What is told comes from the store, so it is committed; it is found again by its revision after a
pause, on another server, or by a watcher who reads slowly. Nothing is kept for a watcher.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from time import monotonic

from service.engine.feeds import Feed
from service.engine.lifecycle import Lifecycle
from service.engine.packing import unpack
from service.engine.rewind import rebuild
from service.errors import Draining, NtmError, StoreRolledBack
from service.requests import Point, Watch
from service.results import HistoryRecord, StateTensor, Watched, WatchedRecord
from service.store.store import Damaged, Gone, Record, SessionKey, SessionRow

RECORDS, HEAVY = 256, 16  # told at a time; where rows or tensors come with them


async def watch(life: Lifecycle, request: Watch, name: Hashable) -> Watched:
    """What there is to tell, as soon as there is something, or nothing after `wait_s`.

    name: by which `life.feeds.leave` ends the wait. Raises NtmError, also where there is no such
    session to begin with.
    """
    until, key = monotonic() + request.wait_s, SessionKey(request.tenant, request.session)
    with life.feeds.watched_by(name, key) as (feed, watcher):
        while watcher.here:
            watcher.woken.clear()  # before reading, so that nothing goes by between
            found = await _read(life, feed, request)
            if found.records or found.notices or found.ended or request.after is None:
                return found
            try:
                async with asyncio.timeout(until - monotonic()):
                    await watcher.woken.wait()
            except TimeoutError:
                return found
    raise Draining("the server is stopping, or nobody waits any more")


async def _read(life: Lifecycle, feed: Feed, request: Watch) -> Watched:
    row = await life.store.row(SessionKey(request.tenant, request.session))
    if isinstance(row, Damaged) or (isinstance(row, Gone) and request.after is None):
        raise life.refusal(request.session, row)
    ended = (row.reason or "deleted").split()[0] if isinstance(row, Gone) else None
    if request.after is not None and not isinstance(row, Gone):
        ended = None if request.after[0] == row.incarnation else "replaced"
    if isinstance(row, Gone) or ended is not None:
        incarnation, after = request.after or ("", 0)
        return Watched(incarnation, after, [], [], request.seen or 0, ended)
    after = row.revision if request.after is None else request.after[1]
    if after > row.revision:
        raise _rolled_back(row, after)
    seen = max((notice.number for notice in feed.notices), default=request.seen or 0)
    begun = seen if request.seen is None else request.seen
    notices = [notice for notice in feed.notices if notice.number > begun]
    records = await _records(life, request, row, after)
    told = [await _told(life, request, record) for record in records]
    return Watched(row.incarnation, row.revision, told, notices, seen, None)


def _rolled_back(row: SessionRow, after: int) -> StoreRolledBack:
    return StoreRolledBack(
        f"session {row.id!r}: revision {after} was told of, the store has {row.revision}",
        expected=after,
        got=row.revision,
    )


async def _records(life: Lifecycle, request: Watch, row: SessionRow, after: int) -> list[Record]:
    """The oldest kept records after a revision, oldest first."""
    most = HEAVY if request.rows or request.roles else RECORDS
    count = min(most, row.revision - after)
    if not count:
        return []
    for before in (after + count + 1, None):  # None: those are not kept any more, the newest are
        page = await life.store.history(row.key, before, count)
        if isinstance(page, Damaged):
            raise life.refusal(row.id, page)
        if isinstance(page, Gone):
            return []  # it has ended just now, and the next look says so
        found = [record for record in reversed(page) if record.revision > after]
        if found:
            return found
    return []


async def _told(life: Lifecycle, request: Watch, record: Record) -> WatchedRecord:
    step = record.count > 0
    raw = (record.rows, record.outputs) if request.rows and step else (b"", b"")
    plain = HistoryRecord(record.kind, record.revision, record.step, record.count, *raw)
    tensors = await _tensors(life, request, record.revision) if request.roles and step else None
    return WatchedRecord(plain, tensors)


async def _tensors(life: Lifecycle, request: Watch, revision: int) -> list[StateTensor] | None:
    """The tensors of the wanted roles as they are after a step: from what is held, else its rows
    are run again as for a restore. None where they cannot be had any more."""
    try:
        session = await life.open(request.tenant, request.session, fresh=True)
        spec = session.host.runtime.spec
        if session.row.revision == revision:
            state = session.host.placement.state(session)
        else:
            packed = (await rebuild(life, session, Point(revision=revision))).state
            state = session.host.initial() if packed is None else unpack(spec, packed)
    except NtmError:
        return None
    return [
        StateTensor(tensor.name, tensor.role, tensor.dims, array.tobytes())
        for tensor, array in zip(spec, state, strict=True)
        if tensor.role in request.roles
    ]
