"""What must hold of a session, in plain values: no engine, no store, only the reference's steps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.requests import Guard, Point
from tests.service.crash.reference import Reference

Floats = NDArray[np.float32]
State = list[NDArray[Any]]
KEPT_REPLIES = 4


@dataclass
class Entry:
    """One mutation. `stood`: each step that it led to and the state there, the last at its end."""

    kind: str
    revision: int
    stood: list[tuple[int, State]]
    rows: bytes = b""
    outputs: bytes = b""
    key: str | None = None

    @property
    def step(self) -> int:
        """Rows consumed after it."""
        return self.stood[-1][0]


@dataclass
class Known:
    """A session as everything acknowledged makes it."""

    tenant: str
    id: str
    version: str
    incarnation: str
    committed_at: float
    ttl_s: float
    entries: list[Entry]
    forked_from: str | None = None
    snapshots: dict[str, tuple[int, int, State]] = field(default_factory=dict)

    @property
    def revision(self) -> int:
        """Mutations so far."""
        return self.entries[-1].revision

    @property
    def step(self) -> int:
        """Rows consumed."""
        return self.entries[-1].step

    @property
    def state(self) -> State:
        """The state it stands at."""
        return self.entries[-1].stood[-1][1]

    @property
    def etag(self) -> str:
        """Its validator."""
        return f"{self.incarnation}-{self.revision}"

    @property
    def expires_at(self) -> float:
        """Its TTL counts from its last commit."""
        return self.committed_at + self.ttl_s

    def remembers(self, guard: Guard) -> bool:
        """Is this key's reply among the last that are kept?"""
        keyed = [entry.key for entry in self.entries if entry.key is not None]
        return guard.key in keyed[-KEPT_REPLIES:]

    def stepped(self, reference: Reference, rows: Floats, key: str | None, now: float) -> Entry:
        """After rows (T, X)."""
        state, outputs, stood = self.state, b"", list[tuple[int, State]]()
        for at in range(len(rows)):
            y, state = reference.step(state, rows[at : at + 1])
            outputs += y.tobytes()
            stood.append((self.step + at + 1, state))
        entry = Entry("step", self.revision + 1, stood, rows.tobytes(), outputs, key)
        return self._took(entry, now)

    def moved(
        self, kind: str, step: int, state: State, key: str | None, now: float, version: str = ""
    ) -> Entry:
        """After a mutation without rows."""
        self.version = version or self.version
        return self._took(Entry(kind, self.revision + 1, [(step, state)], key=key), now)

    def at(self, point: Point) -> tuple[int, State] | None:
        """Where it stood at a point of its past: the latest time, for a step."""
        if point.snapshot is not None:
            kept = self.snapshots.get(point.snapshot)
            return kept and (kept[0], kept[2])
        if point.revision is not None:
            found = [e.stood[-1] for e in self.entries if e.revision == point.revision]
        else:
            found = [s for e in self.entries for s in e.stood if s[0] == point.step]
        return found[-1] if found else None

    def fork(self, name: str, at: tuple[int, State], now: float, key: str | None) -> Known:
        """Another session that begins at (step, state) of this one."""
        entries = [Entry("create", 1, [at], key=key)]
        made = replace(self, id=name, entries=entries, snapshots={}, forked_from=self.id)
        made.committed_at = now
        return made

    def _took(self, entry: Entry, now: float) -> Entry:
        self.entries.append(entry)
        self.committed_at = now
        return entry
