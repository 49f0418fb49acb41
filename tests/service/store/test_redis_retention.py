"""What Redis keeps of a session is what memory answers and `timeline` says."""

from __future__ import annotations

import random
from typing import Any

import pytest
from msgspec.structs import replace

from service.store.memory import MemoryStore
from service.store.redis import RedisStore
from service.store.redis_format import PARTS, keys_of
from service.store.store import (
    Change,
    Checkpoint,
    Committed,
    Record,
    Retention,
    SessionKey,
    SessionRow,
    Stored,
)
from service.store.timeline import Mark, outdated
from tests.service.store.redis_server import RedisServer
from tests.service.store.redis_store import (
    KEY,
    created,
    new_row,
    opened,
    step,
)


def random_change(rng: random.Random, row: SessionRow | None, key: SessionKey, at: int) -> Change:
    """Anything that can be asked for, some of it out of date or repeated."""
    name = f"key {rng.randrange(9)}" if rng.random() < 0.5 else None
    if row is None or rng.random() < 0.04:
        row = replace(new_row(key, f"born {at}"), model=rng.choice(("copy", "sort")))
        return Change(row, None, Record("create", 1, 0, key=name))
    stale = rng.random() < 0.1
    expected = (row.incarnation, row.revision - stale)
    draw = rng.random()
    if draw < 0.04:
        return Change(row, expected, ended=rng.choice(("deleted", "expired")))
    if draw < 0.15:
        snapshot = rng.choice((None, "one", "two words", "="))
        state = rng.choice((None, f"at {row.revision}".encode()))
        return Change(row, expected, None, Checkpoint(row.revision, row.step, state, snapshot, at))
    rows = rng.choice((0, 1, 1, 2, 7))
    after = replace(row, revision=row.revision + 1, step=row.step + rows if rows else 3)
    if not rows:
        after = replace(after, model=rng.choice(("copy", "sort")))
    kind = "step" if rows else "restore"
    record = Record(kind, after.revision, after.step, b"i" * rows, b"o", rows, name, bytes([at]))
    state = rng.choice((None, b"shared", f"at {after.revision}".encode()))
    brings = rows == 0 or rng.random() < 0.4
    checkpoint = Checkpoint(after.revision, after.step, state) if brings else None
    return Change(after, expected, record, checkpoint)


class Kept:
    """What `timeline.outdated` says is left of a session, change by change."""

    def __init__(self) -> None:
        self.records: list[Mark] = []
        self.checkpoints: list[Mark] = []

    def take(self, change: Change, retention: Retention) -> None:
        record, checkpoint = change.record, change.checkpoint
        if change.expected is None:
            self.__init__()
            checkpoint = checkpoint or Checkpoint(1, 0, None)
        if record is not None:
            self.records.append(Mark(record.revision, record.step, record.count, record.key))
        if checkpoint is None or self._has(checkpoint):
            return
        self.checkpoints.append(Mark(checkpoint.revision, checkpoint.step, name=checkpoint.name))
        if change.expected is not None:
            old = outdated(self.records, self.checkpoints, retention)
            self.records = [m for m in self.records if m.revision not in old.records]
            self.checkpoints = [
                m for m in self.checkpoints if m.name or m.revision not in old.checkpoints
            ]

    def _has(self, checkpoint: Checkpoint) -> bool:
        same = [m for m in self.checkpoints if m.name == checkpoint.name]
        return any(checkpoint.name or m.revision == checkpoint.revision for m in same)


@pytest.mark.parametrize("seed", range(4))
async def test_a_random_life_is_answered_as_by_memory_and_kept_as_timeline_says(
    seed: int, redis_server: RedisServer, raw_redis: Any
):
    rng = random.Random(seed)
    retention = Retention(rng.choice((0, 1, 3)), rng.choice((0, 5, 20)), rng.choice((1, 4, 16)))
    memory = MemoryStore(retention)
    async with opened(redis_server, retention=retention) as store:
        keys = [KEY, SessionKey("acme", "other"), SessionKey("", "s"), SessionKey("}{a/b%", "s")]
        rows: dict[SessionKey, SessionRow | None] = dict.fromkeys(keys)
        kept = {key: Kept() for key in keys}
        for at in range(80):
            changes = [random_change(rng, rows[key], key, at) for key in rng.sample(keys, 3)]
            outcomes = await store.commit(changes)
            assert outcomes == await memory.commit(changes)
            for change, outcome in zip(changes, outcomes, strict=True):
                if outcome == Committed():
                    rows[change.row.key] = None if change.ended else change.row
                    kept[change.row.key].take(change, retention)
            for key in keys:
                assert await store.load(key) == await memory.load(key)
                assert await store.row(key) == await memory.row(key)
                assert await store.snapshots(key) == await memory.snapshots(key)
                if rows[key] is not None:
                    found = await store.history(key, None, 1000)
                    assert isinstance(found, list)
                    assert [r.revision for r in reversed(found)] == [
                        m.revision for m in kept[key].records
                    ]
                    assert (
                        await store.history(key, 4, 2) == [r for r in found if r.revision < 4][:2]
                    )
                    await assert_points_and_states(raw_redis, key, kept[key])
            for model in (None, "copy"):
                assert await store.rows("acme", None, 10, model) == await memory.rows(
                    "acme", None, 10, model
                )
            for model in (None, ("copy", "1"), ("sort", "1")):
                assert await store.count(model) == await memory.count(model)


async def assert_points_and_states(raw: Any, key: SessionKey, kept: Kept) -> None:
    """The checkpoints are those, and no state is stored that none of them names."""
    named = dict(zip(PARTS, keys_of(key), strict=True))
    texts: list[bytes] = await raw.lrange(named["points"], 0, -1)
    points = [text.split(b" ", 6) for text in texts]
    assert [int(point[0]) for point in points] == [mark.revision for mark in kept.checkpoints]
    assert {point[4] for point in points} - {b"-"} == set(await raw.hkeys(named["states"]))


async def test_any_kept_row_is_found_again(redis_store: RedisStore):
    row = await created(redis_store)
    for revision in range(2, 40):
        change = step(row, state=f"after {revision - 1}".encode() if revision % 8 == 0 else None)
        assert await redis_store.commit([change]) == [Committed()]
        row = change.row
    for wanted in range(1, 39):
        found = await redis_store.at(KEY, step=wanted)
        assert isinstance(found, Stored)
        assert found.checkpoint.step + sum(r.count for r in found.records) == wanted
        assert found.row == row
    assert await redis_store.at(KEY, step=40) is None
