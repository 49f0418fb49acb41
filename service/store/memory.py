"""Sessions in this process's memory: fast, and gone with the engine."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Sequence
from itertools import islice
from time import time
from typing import Any

from msgspec.structs import replace
from sortedcontainers import SortedDict

from service.store.store import (
    Change,
    Checkpoint,
    Committed,
    Damaged,
    Gone,
    Outcome,
    Record,
    Replayed,
    Retention,
    Room,
    SessionKey,
    SessionRow,
    Stale,
    Stored,
)
from service.store.timeline import Mark, outdated, route

EXPIRIES = 1000  # kept of sessions that have ended already
COMMITTED = Committed()
TRIM_ROWS = 256  # recorded before a session's records are looked through again


class _Entry:
    __slots__ = ("checkpoints", "records", "row", "untrimmed")

    def __init__(self, row: SessionRow) -> None:
        self.row = row
        self.checkpoints: list[Checkpoint] = []  # in order of revision, as are the records
        self.records: list[Record] = []
        self.untrimmed = 0  # rows recorded since the records were last looked through

    def replies(self, last: int) -> list[Record]:
        """The last records with a key, in order."""
        keyed = (record for record in reversed(self.records) if record.key is not None)
        return list(islice(keyed, last))[::-1]

    def has(self, checkpoint: Checkpoint) -> bool:
        """Is there a snapshot of its name, or another without a name of its revision?"""
        if checkpoint.name is not None:
            return any(c.name == checkpoint.name for c in self.checkpoints)
        last = next((c for c in reversed(self.checkpoints) if c.name is None), None)
        return last is not None and last.revision == checkpoint.revision

    def marks(self) -> tuple[list[Mark], list[Mark]]:
        """The records and the checkpoints without their bytes."""
        records = [Mark(r.revision, r.step, r.count, r.key) for r in self.records]
        return records, [Mark(c.revision, c.step, name=c.name) for c in self.checkpoints]


class MemoryStore:
    """A `Store` of dictionaries."""

    name = "memory"
    shared = False
    instant = True
    bell = None

    def __init__(self, retention: Retention | None = None) -> None:
        self._retention = retention or Retention()
        self._tenants: dict[str, Any] = {}  # tenant -> SortedDict of id -> _Entry
        self._tombstones: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()
        self._expiry: list[tuple[float, SessionKey]] = []
        self._counts: Counter[tuple[str, str, str]] = Counter()  # by tenant, model, version

    async def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        """See `Store`."""
        return [self._apply(change) for change in changes]

    async def load(self, key: SessionKey) -> Stored | Gone | Damaged:
        """See `Store`."""
        entry = self._find(key)
        if entry is None:
            return self._gone(key)
        checkpoint = entry.checkpoints[-1]
        later = [record for record in entry.records if record.revision > checkpoint.revision]
        return Stored(entry.row, checkpoint, later, entry.replies(self._retention.replies))

    async def row(self, key: SessionKey) -> SessionRow | Gone:
        """See `Store`."""
        entry = self._find(key)
        return self._gone(key) if entry is None else entry.row

    async def at(
        self,
        key: SessionKey,
        *,
        step: int | None = None,
        revision: int | None = None,
        snapshot: str | None = None,
    ) -> Stored | Gone | Damaged | None:
        """See `Store`."""
        entry = self._find(key)
        if entry is None:
            return self._gone(key)
        if snapshot is not None:
            found = [c for c in entry.checkpoints if c.name == snapshot]
            return Stored(entry.row, found[0], [], []) if found else None
        records, checkpoints = entry.marks()
        way = route(records, checkpoints, step=step, revision=revision)
        if way is None:
            return None
        base = next(c for c in entry.checkpoints if c.revision == way.base.revision)
        wanted = {mark.revision for mark in way.records}
        return Stored(entry.row, base, [r for r in entry.records if r.revision in wanted], [])

    async def history(self, key: SessionKey, before: int | None, limit: int) -> list[Record] | Gone:
        """See `Store`."""
        entry = self._find(key)
        if entry is None:
            return self._gone(key)
        found = [r for r in reversed(entry.records) if before is None or r.revision < before]
        return found[:limit]

    async def snapshots(self, key: SessionKey) -> list[Checkpoint] | Gone:
        """See `Store`."""
        entry = self._find(key)
        if entry is None:
            return self._gone(key)
        return [replace(c, state=None) for c in entry.checkpoints if c.name is not None]

    async def rows(
        self, tenant: str, after: str | None, limit: int, model: str | None
    ) -> list[SessionRow]:
        """See `Store`."""
        entries = self._tenants.get(tenant)
        found: list[SessionRow] = []
        if entries is None:
            return found
        for name in entries.irange(after, inclusive=(after is None, True)):
            row = entries[name].row
            if model is None or row.model == model:
                found.append(row)
                if len(found) == limit:
                    break
        return found

    async def expired(self, now: float, limit: int) -> list[SessionRow]:
        """See `Store`."""
        found: list[SessionRow] = []
        while self._expiry and self._expiry[0][0] <= now and len(found) < limit:
            _, key = heapq.heappop(self._expiry)
            entry = self._find(key)
            if entry is None:
                continue
            if entry.row.expires_at <= now:
                found.append(entry.row)
            # A session stepped since is due later; one returned stays due until it has ended.
            heapq.heappush(self._expiry, (max(entry.row.expires_at, now + 1), key))
        return found

    async def count(self, model: tuple[str, str] | None = None) -> int:
        """See `Store`."""
        return sum(n for (_, *of), n in self._counts.items() if model in (None, tuple(of)))

    async def usage(self, tenant: str) -> dict[tuple[str, str], int]:
        """See `Store`."""
        return {
            (model, version): n for (t, model, version), n in self._counts.items() if t == tenant
        }

    async def tenants(self) -> list[str]:
        """See `Store`."""
        return list(self._tenants)

    async def room(self) -> Room | None:
        """See `Store`."""
        return None

    async def close(self) -> None:
        """See `Store`."""

    def _find(self, key: tuple[str, str]) -> _Entry | None:
        tenant, name = key
        entries = self._tenants.get(tenant)
        return None if entries is None else entries.get(name)

    def _gone(self, key: tuple[str, str]) -> Gone:
        reason, until = self._tombstones.get(key, (None, 0.0))
        return Gone(reason if until > time() else None)

    def _replied(self, entry: _Entry, record: Record | None) -> Record | None:
        """What was answered to the key of `record` before."""
        if record is None or record.key is None:
            return None
        kept = entry.replies(self._retention.replies)
        return next((old for old in reversed(kept) if old.key == record.key), None)

    def _apply(self, change: Change) -> Outcome:
        key = (change.row.tenant, change.row.id)  # a SessionKey takes seven times as long to make
        entry = self._find(key)
        if entry is None:
            return self._create(change) if change.expected is None else self._gone(key)
        before = self._replied(entry, change.record)
        if before is not None:
            return Replayed(before)
        if (entry.row.incarnation, entry.row.revision) != change.expected:
            return Stale(entry.row)
        if change.ended is not None:
            self._end(entry.row, change.ended)
        else:
            self._write(entry, change)
        return COMMITTED

    def _create(self, change: Change) -> Outcome:
        row, entry = change.row, _Entry(change.row)
        entry.checkpoints.append(change.checkpoint or Checkpoint(row.revision, row.step, None))
        if change.record is not None:
            entry.records.append(change.record)
        self._tenants.setdefault(row.tenant, SortedDict())[row.id] = entry
        self._tombstones.pop(row.key, None)
        heapq.heappush(self._expiry, (row.expires_at, row.key))
        self._count(row, 1)
        return COMMITTED

    def _write(self, entry: _Entry, change: Change) -> None:
        before, entry.row = entry.row, change.row
        if (before.model, before.version) != (entry.row.model, entry.row.version):
            self._count(before, -1)
            self._count(entry.row, 1)
        if change.record is not None:
            entry.records.append(change.record)
            entry.untrimmed += max(change.record.count, 1)
        if change.checkpoint is not None and not entry.has(change.checkpoint):
            self._thin(entry, change.checkpoint)
            entry.checkpoints.append(change.checkpoint)
        if entry.untrimmed >= TRIM_ROWS:
            self._trim(entry)
            entry.untrimmed = 0

    def _thin(self, entry: _Entry, newest: Checkpoint) -> None:
        """The newest checkpoint so far goes, where the one before it is in the same band: states
        are large, so this does not wait for `_trim`."""
        plain = [at for at, c in enumerate(entry.checkpoints) if c.name is None][-2:]
        if newest.name is not None or len(plain) < 2:
            return
        before, last = (entry.checkpoints[at] for at in plain)
        spacing = self._retention.checkpoint_spacing
        at = bisect_left(entry.records, last.revision, key=lambda record: record.revision)
        made = entry.records[at] if at < len(entry.records) else None
        moved = made is not None and made.revision == last.revision and not made.count
        if not moved and before.step // spacing == last.step // spacing:
            del entry.checkpoints[plain[1]]

    def _trim(self, entry: _Entry) -> None:
        """Rarely, since it looks through all there is."""
        old = outdated(*entry.marks(), self._retention)
        records, checkpoints = set(old.records), set(old.checkpoints)
        entry.records = [r for r in entry.records if r.revision not in records]
        entry.checkpoints = [
            c for c in entry.checkpoints if c.name is not None or c.revision not in checkpoints
        ]

    def _end(self, row: SessionRow, reason: str) -> None:
        entries = self._tenants[row.tenant]
        del entries[row.id]
        if not entries:
            del self._tenants[row.tenant]
        self._count(row, -1)
        self._forget_expiries()
        now = time()
        self._tombstones[row.key] = (reason, now + self._retention.tombstone_s)
        while self._tombstones and next(iter(self._tombstones.values()))[1] <= now:
            self._tombstones.popitem(last=False)

    def _forget_expiries(self) -> None:
        """Of sessions that ended before their time, once those are the most."""
        if len(self._expiry) > 2 * sum(self._counts.values()) + EXPIRIES:
            rows = (e.row for entries in self._tenants.values() for e in entries.values())
            self._expiry = [(row.expires_at, row.key) for row in rows]
            heapq.heapify(self._expiry)

    def _count(self, row: SessionRow, by: int) -> None:
        of = (row.tenant, row.model, row.version)
        self._counts[of] += by
        if not self._counts[of]:
            del self._counts[of]
