"""The memory store keeps the store's contract: one outcome a change, and nothing written but by
the one that expected what is there."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from service.store.memory import EXPIRIES, TRIM_ROWS, MemoryStore
from service.store.store import (
    Change,
    Checkpoint,
    Committed,
    Gone,
    Outcome,
    Record,
    Replayed,
    Retention,
    SessionKey,
    SessionRow,
    Stale,
    Store,
    Stored,
)

NOW = 1_000_000.0


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in its only element."""
    now = [NOW]
    monkeypatch.setattr("service.store.memory.time", lambda: now[0])
    return now


@pytest.fixture
def store(now: list[float]) -> MemoryStore:
    return MemoryStore()


def row_of(name: str = "s", tenant: str = "alice", **fields: object) -> SessionRow:
    row = SessionRow(tenant, name, "copy", "1", "print", "inc", 1, 0, NOW, NOW, 100.0)
    return replace(row, **fields)


def creation(row: SessionRow, key: str | None = None, state: bytes | None = None) -> Change:
    record = Record("create", 1, row.step, key=key, fingerprint=b"f")
    return Change(row, None, record, Checkpoint(1, row.step, state))


def step(
    row: SessionRow,
    rows: int = 1,
    key: str | None = None,
    state: bytes | None = None,
    at: float = NOW,
) -> Change:
    after = replace(row, revision=row.revision + 1, step=row.step + rows, committed_at=at)
    record = Record("step", after.revision, after.step, b"r" * rows, b"o", rows, key, b"f")
    checkpoint = None if state is None else Checkpoint(after.revision, after.step, state)
    return Change(after, (row.incarnation, row.revision), record, checkpoint)


def end(row: SessionRow, reason: str = "deleted") -> Change:
    return Change(row, (row.incarnation, row.revision), ended=reason)


async def one(store: Store, change: Change) -> Outcome:
    (outcome,) = await store.commit([change])
    return outcome


async def made(store: Store, change: Change) -> SessionRow:
    assert await one(store, change) == Committed()
    return change.row


async def loaded(store: Store, name: str = "s", tenant: str = "alice") -> Stored:
    stored = await store.load(SessionKey(tenant, name))
    assert isinstance(stored, Stored)
    return stored


async def names(
    store: Store, after: str | None = None, limit: int = 9, model: str | None = None
) -> list[str]:
    return [row.id for row in await store.rows("alice", after, limit, model)]


async def test_what_was_created_is_loaded_as_it_was(store: MemoryStore) -> None:
    change = creation(row_of(), "k", b"state")
    row = await made(store, change)

    stored = await loaded(store)

    assert (stored.row, stored.checkpoint) == (row, change.checkpoint)
    assert (stored.records, stored.replies) == ([], [change.record])
    assert await store.row(row.key) == row
    assert await store.count() == 1


async def test_a_name_can_be_created_once_a_tenant(store: MemoryStore) -> None:
    row = await made(store, creation(row_of()))

    assert await one(store, creation(row_of(incarnation="other"))) == Stale(row)
    await made(store, creation(row_of(tenant="bob")))
    assert (await loaded(store)).row == row
    assert await store.count() == 2


async def test_steps_are_loaded_with_the_newest_checkpoint_and_what_came_after(
    store: MemoryStore,
) -> None:
    row = await made(store, creation(row_of()))
    changes: list[Change] = []
    for n, state in enumerate((None, b"two", None, None), start=1):
        changes.append(step(row, n, state=state))
        row = await made(store, changes[-1])

    stored = await loaded(store)

    assert stored.row == row and (row.revision, row.step) == (5, 10)
    assert stored.checkpoint == Checkpoint(3, 3, b"two")
    assert stored.records == [changes[2].record, changes[3].record]


@pytest.mark.parametrize("expected", [("inc", 1), ("inc", 3), ("other", 2)])
async def test_a_change_that_expects_something_else_is_stale_and_writes_nothing(
    store: MemoryStore, expected: tuple[str, int]
) -> None:
    row = await made(store, creation(row_of()))
    row = await made(store, step(row))
    before = await loaded(store)

    for change in (step(row, 7, state=b"wrong"), end(row)):
        assert await one(store, replace(change, expected=expected)) == Stale(row)

    assert await loaded(store) == before


async def test_each_change_of_a_tick_has_its_own_outcome(store: MemoryStore) -> None:
    rows = [await made(store, creation(row_of(name))) for name in ("a", "b", "c")]
    stale = replace(step(rows[1]), expected=("inc", 9))
    gone = step(row_of("nobody"))

    outcomes = await store.commit([step(rows[0]), stale, gone, end(rows[2]), creation(row_of("d"))])

    assert outcomes == [Committed(), Stale(rows[1]), Gone(None), Committed(), Committed()]
    assert [(await loaded(store, name)).row.revision for name in ("a", "b", "d")] == [2, 1, 1]


async def test_a_key_is_looked_up_before_the_expectation(store: MemoryStore) -> None:
    row = await made(store, creation(row_of(), "k1"))
    first = step(row, 2, key="k2")
    after = await made(store, first)
    await made(store, step(after))

    repeated = await one(store, first)  # its expectation does not hold
    assert isinstance(repeated, Replayed) and repeated.record == first.record
    again = await one(store, creation(row_of(incarnation="other"), "k1"))
    assert isinstance(again, Replayed) and again.record.kind == "create"
    assert (await loaded(store)).row.revision == 3


async def test_the_last_replies_are_kept_for_repeats_and_older_keys_are_stale() -> None:
    store = MemoryStore(Retention(replies=3))
    row = await made(store, creation(row_of(), "k0"))
    changes: list[Change] = []
    for n in range(1, 6):
        changes.append(step(row, key=f"k{n}"))
        row = await made(store, changes[-1])
        row = await made(store, step(row))  # one without a key between

    assert [record.key for record in (await loaded(store)).replies] == ["k3", "k4", "k5"]
    outcomes = [await one(store, change) for change in changes[2:]]
    replayed = [outcome.record for outcome in outcomes if isinstance(outcome, Replayed)]
    assert replayed == [change.record for change in changes[2:]]
    assert await one(store, changes[1]) == Stale(row)


async def test_a_change_of_the_same_revision_adds_its_checkpoint_alone(store: MemoryStore) -> None:
    row = await made(store, creation(row_of()))
    row = await made(store, step(row))
    expected = (row.incarnation, row.revision)

    change = Change(row, expected, checkpoint=Checkpoint(2, 1, b"state"))
    assert await one(store, change) == Committed()

    stored = await loaded(store)
    assert (stored.row, stored.checkpoint.state, stored.records) == (row, b"state", [])


@pytest.mark.parametrize("reason", ["deleted", "expired"])
async def test_what_has_ended_is_gone_for_the_reason_it_ended(
    store: MemoryStore, now: list[float], reason: str
) -> None:
    row = await made(store, creation(row_of()))
    await made(store, end(row, reason))

    for outcome in (
        await store.load(row.key),
        await store.row(row.key),
        await store.history(row.key, None, 5),
        await store.snapshots(row.key),
        await store.at(row.key, step=0),
        await one(store, step(row)),
        await one(store, end(row)),
    ):
        assert outcome == Gone(reason)
    assert (await names(store), await store.count()) == ([], 0)
    now[0] += 86_400.0  # so long it is remembered
    assert await store.load(row.key) == Gone(None)


async def test_a_name_used_again_has_nothing_of_its_predecessor(store: MemoryStore) -> None:
    row = await made(store, creation(row_of(), "k"))
    old = step(row, 3, key="k2", state=b"old")
    await made(store, end(await made(store, old)))

    again = await made(store, creation(row_of(incarnation="new"), "k"))

    stored = await loaded(store)
    assert (stored.row, stored.records, len(stored.replies)) == (again, [], 1)
    assert stored.checkpoint == Checkpoint(1, 0, None)
    assert await one(store, old) == Stale(again)


async def test_rows_are_told_in_order_of_id_and_after_a_cursor(store: MemoryStore) -> None:
    for name in ("d", "b", "a", "e", "c"):
        await made(store, creation(row_of(name, model="copy" if name < "d" else "sort")))
    await made(store, creation(row_of("bb", "bob")))

    assert await names(store) == ["a", "b", "c", "d", "e"]
    assert await names(store, limit=2) == ["a", "b"]
    assert await names(store, "b", 2) == ["c", "d"]
    assert await names(store, "bb") == ["c", "d", "e"]
    assert await names(store, "e") == []
    assert await names(store, model="sort") == ["d", "e"]
    assert await names(store, "a", 1, "sort") == ["d"]
    assert await store.rows("eve", None, 9, None) == []


async def test_sessions_are_counted_by_model_and_version(store: MemoryStore) -> None:
    row = await made(store, creation(row_of("a")))
    await made(store, creation(row_of("b", version="2")))
    moved = replace(row, version="2", revision=2)
    await made(store, Change(moved, ("inc", 1), Record("migrate", 2, 0), Checkpoint(2, 0, b"x")))

    counts = [await store.count(("copy", version)) for version in ("1", "2", "3")]
    assert counts == [0, 2, 0] and await store.count() == 2
    await made(store, end(moved))
    assert await store.count(("copy", "2")) == 1


async def test_expired_are_those_past_their_ttl_until_they_have_ended(store: MemoryStore) -> None:
    short = await made(store, creation(row_of("short", idle_ttl_s=10.0)))
    stepped = await made(store, creation(row_of("stepped", idle_ttl_s=10.0)))
    await made(store, creation(row_of("long")))
    await made(store, step(stepped, at=NOW + 8))

    assert await store.expired(NOW + 9.9, 9) == []
    assert await store.expired(NOW + 10, 9) == [short]
    assert await store.expired(NOW + 11, 9) == [short]  # asked again, since it lives on
    await made(store, end(short, "expired"))
    assert await store.expired(NOW + 12, 9) == []
    assert [row.id for row in await store.expired(NOW + 18, 9)] == ["stepped"]
    assert [row.id for row in await store.expired(NOW + 500, 9)] == ["stepped", "long"]


async def test_expired_are_told_at_most_as_many_as_asked_for(store: MemoryStore) -> None:
    for n in range(7):
        await made(store, creation(row_of(f"s{n}", idle_ttl_s=10.0 + n)))

    first = await store.expired(NOW + 50, 3)
    await store.commit([end(row, "expired") for row in first])
    second = await store.expired(NOW + 50, 3)

    assert [row.id for row in (*first, *second)] == ["s0", "s1", "s2", "s3", "s4", "s5"]


async def test_sessions_that_come_and_go_leave_nothing_but_their_tombstones(
    store: MemoryStore,
) -> None:
    await made(store, creation(row_of("stays")))
    for n in range(3 * EXPIRIES):
        row = row_of(f"s{n % 7}", incarnation=f"i{n}")
        assert await store.commit([creation(row), end(row)]) == [Committed(), Committed()]

    kept = store._expiry  # pyright: ignore[reportPrivateUsage]
    assert len(kept) <= EXPIRIES + 3
    assert [row.id for row in await store.expired(NOW + 100, 9)] == ["stays"]


async def test_a_long_session_keeps_its_history_and_little_more() -> None:
    retention = Retention(replies=4, history_rows=300, checkpoint_spacing=64)
    store = MemoryStore(retention)
    row = await made(store, creation(row_of()))
    for n in range(1, 2001):
        state = b"s%d" % n if n % 8 == 0 else None
        row = await made(store, step(row, state=state))

    history = await store.history(row.key, None, 10_000)
    assert isinstance(history, list)
    assert [record.step for record in history[:300]] == list(range(2000, 1700, -1))
    # Its bands reach one spacing further back, and it is looked through only now and then.
    assert len(history) <= 300 + 64 + 8 + TRIM_ROWS
    kept = store._find(row.key)  # pyright: ignore[reportPrivateUsage]
    assert kept is not None and len(kept.checkpoints) <= 2 + (300 + 64 + TRIM_ROWS) / 64
    for back in (0, 1, 7, 8, 64, 299):
        way = await store.at(row.key, step=2000 - back)
        assert isinstance(way, Stored), back
        assert way.checkpoint.step + sum(record.count for record in way.records) == 2000 - back
        assert way.checkpoint.state == b"s%d" % way.checkpoint.step
        assert len(way.records) < 64 + 8


async def test_large_requests_do_not_pile_up() -> None:
    store = MemoryStore(Retention(replies=2, history_rows=300))
    row = await made(store, creation(row_of()))
    for n in range(50):
        row = await made(store, step(row, 1000, state=b"s%d" % n))

    history = await store.history(row.key, None, 99)

    assert isinstance(history, list) and len(history) <= 3


async def test_a_state_put_in_place_stays_a_base_among_its_neighbours() -> None:
    store = MemoryStore(Retention(checkpoint_spacing=1000))
    row = await made(store, creation(row_of()))
    for n in range(1, 31):
        if n == 10:
            after = replace(row, revision=row.revision + 1, step=0)
            change = Change(
                after,
                (row.incarnation, row.revision),
                Record("reset", after.revision, 0),
                Checkpoint(after.revision, 0, None),
            )
        else:
            change = step(row, state=b"s%d" % n)
        row = await made(store, change)

    for revision in range(1, 32):
        way = await store.at(row.key, revision=revision)
        assert isinstance(way, Stored), revision
        reached = [way.checkpoint.revision, *(record.revision for record in way.records)]
        assert reached == list(range(reached[0], revision + 1))
        assert all(record.count for record in way.records)  # nothing but steps runs again


async def test_snapshots_stay_as_they_were_taken(store: MemoryStore) -> None:
    row = await made(store, creation(row_of()))
    for n in range(1, 5):
        row = await made(store, step(row, state=b"s%d" % n))
        expected = (row.incarnation, row.revision)
        name = "first" if n < 3 else "second"  # each asked for twice: the first time counts
        mark = Checkpoint(row.revision, row.step, b"mark%d" % n, name, NOW + n)
        assert await one(store, Change(row, expected, checkpoint=mark)) == Committed()

    snapshots = await store.snapshots(row.key)

    assert isinstance(snapshots, list)
    told = [(mark.name, mark.step, mark.created_at, mark.state) for mark in snapshots]
    assert told == [("first", 1, NOW + 1, None), ("second", 3, NOW + 3, None)]
    way = await store.at(row.key, snapshot="first")
    assert isinstance(way, Stored) and (way.checkpoint.state, way.records) == (b"mark1", [])
    assert await store.at(row.key, snapshot="third") is None


async def test_history_is_paged_newest_first(store: MemoryStore) -> None:
    row = await made(store, creation(row_of()))
    for n in range(1, 6):
        row = await made(store, step(row, n))

    async def page(before: int | None, limit: int) -> list[int]:
        found = await store.history(row.key, before, limit)
        assert isinstance(found, list)
        return [record.revision for record in found]

    assert await page(None, 2) == [6, 5]
    assert await page(5, 3) == [4, 3, 2]
    assert await page(2, 9) == [1]


@pytest.mark.parametrize(
    ("step_asked", "steps"),
    [(0, []), (3, [3]), (4, [3, 7]), (7, [3, 7]), (9, [3, 7, 12]), (12, [3, 7, 12])],
)
async def test_a_step_within_a_request_is_reached_by_the_record_that_leads_past_it(
    store: MemoryStore, step_asked: int, steps: list[int]
) -> None:
    row = await made(store, creation(row_of()))
    for rows in (3, 4, 5):
        row = await made(store, step(row, rows))

    way = await store.at(row.key, step=step_asked)

    assert isinstance(way, Stored)
    assert [record.step for record in way.records] == steps
    assert await store.at(row.key, step=13) is None
