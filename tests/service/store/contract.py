"""What every store must do, as cases for `pytest.mark.parametrize`: each takes a way to open one.

A store passes its own way of opening: `async def opened(retention) -> Store`, empty, and closes
what it opened after the case.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from time import time

from msgspec.structs import replace

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

Opened = Callable[[Retention], Awaitable[Store]]
Case = Callable[[Opened], Awaitable[None]]
CASES: list[Case] = []
LONG_AGO = 1_000_000.0


def case(function: Case) -> Case:
    """One more case of the contract."""
    CASES.append(function)
    return function


def row_of(name: str = "s", tenant: str = "acme", **fields: object) -> SessionRow:
    now = round(time(), 3)
    row = SessionRow(tenant, name, "copy", "1", "bundle", "inc", 1, 0, now, now, 3600.0)
    return replace(row, **fields)


def creation(row: SessionRow, key: str | None = None, state: bytes | None = None) -> Change:
    record = Record("create", row.revision, row.step, key=key, fingerprint=b"made")
    return Change(row, None, record, Checkpoint(row.revision, row.step, state))


def step(
    row: SessionRow,
    rows: int = 1,
    key: str | None = None,
    state: bytes | None = None,
    at: float | None = None,
) -> Change:
    """More rows; with a checkpoint where a state is given."""
    after = replace(
        row,
        revision=row.revision + 1,
        step=row.step + rows,
        committed_at=row.committed_at + 0.5 if at is None else at,
    )
    inputs, outputs = bytes([after.step % 251]) * 5 * rows, bytes([after.step % 241]) * 3 * rows
    record = Record("step", after.revision, after.step, inputs, outputs, rows, key, b"rows")
    checkpoint = None if state is None else Checkpoint(after.revision, after.step, state)
    return Change(after, (row.incarnation, row.revision), record, checkpoint)


def move(row: SessionRow, kind: str, to: int, state: bytes | None = None, **new: object) -> Change:
    """Another state put in place, as reset, restore, import and migrate do."""
    after = replace(row, revision=row.revision + 1, step=to, **new)
    record = Record(kind, after.revision, to, key=f"{kind} {after.revision}", fingerprint=b"moved")
    checkpoint = Checkpoint(after.revision, to, state)
    return Change(after, (row.incarnation, row.revision), record, checkpoint)


def snapshot(row: SessionRow, name: str, state: bytes, at: float = 0.0) -> Change:
    taken = Checkpoint(row.revision, row.step, state, name, at, f"key of {name}", b"taken")
    return Change(row, (row.incarnation, row.revision), checkpoint=taken)


def end(row: SessionRow, reason: str = "deleted") -> Change:
    return Change(row, (row.incarnation, row.revision), ended=reason)


async def one(store: Store, change: Change) -> Outcome:
    (outcome,) = await store.commit([change])
    return outcome


async def made(store: Store, change: Change) -> SessionRow:
    assert await one(store, change) == Committed()
    return change.row


async def stepped(
    store: Store, row: SessionRow, times: int, every: int = 0, rows: int = 1
) -> SessionRow:
    """So many more requests, with a checkpoint at each `every`-th step."""
    for _ in range(times):
        at = row.step + rows
        row = await made(
            store, step(row, rows, state=b"at %d" % at if every and at % every == 0 else None)
        )
    return row


async def loaded(store: Store, row: SessionRow) -> Stored:
    stored = await store.load(row.key)
    assert isinstance(stored, Stored), stored
    return stored


async def reached(store: Store, row: SessionRow, **point: object) -> Stored:
    stored = await store.at(row.key, **point)  # pyright: ignore[reportArgumentType]
    assert isinstance(stored, Stored), (point, stored)
    return stored


def rebuilt(stored: Stored) -> int:
    """The step that a point's checkpoint and records lead to, each told to follow the last."""
    at, revision = stored.checkpoint.step, stored.checkpoint.revision
    for record in stored.records:
        assert record.count > 0 and record.revision == revision + 1
        assert record.step == at + record.count
        at, revision = record.step, record.revision
    return at


async def history(
    store: Store, row: SessionRow, before: int | None = None, limit: int = 10_000
) -> list[Record]:
    found = await store.history(row.key, before, limit)
    assert isinstance(found, list)
    return found


@case
async def a_creation_is_loaded_as_it_was(opened: Opened) -> None:
    store = await opened(Retention())
    change = creation(row_of(forked_from="parent", step=7), "k", b"state")
    row = await made(store, change)

    stored = await loaded(store, row)

    assert (stored.row, stored.checkpoint) == (row, change.checkpoint)
    assert (stored.records, stored.replies) == ([], [change.record])
    assert await store.row(row.key) == row


@case
async def a_creation_without_a_checkpoint_begins_at_the_initial_state(opened: Opened) -> None:
    store = await opened(Retention())
    row = await made(store, Change(row_of(), None, Record("create", 1, 0)))

    assert (await loaded(store, row)).checkpoint == Checkpoint(1, 0, None)


@case
async def a_name_is_created_once_a_tenant(opened: Opened) -> None:
    store = await opened(Retention())
    row = await made(store, creation(row_of()))

    assert await one(store, creation(row_of(incarnation="other"))) == Stale(row)
    other = await made(store, creation(row_of(tenant="bell", incarnation="other")))
    assert await store.row(row.key) == row and await store.row(other.key) == other


@case
async def steps_come_back_as_records_after_the_newest_checkpoint(opened: Opened) -> None:
    store = await opened(Retention())
    row = await made(store, creation(row_of(), state=b"zero"))
    changes: list[Change] = []
    for state in (None, b"two", None, None, None):
        changes.append(step(row, 2, state=state))
        row = await made(store, changes[-1])

    stored = await loaded(store, row)

    assert stored.row == row and (row.revision, row.step) == (6, 10)
    assert stored.checkpoint == changes[1].checkpoint
    assert stored.records == [change.record for change in changes[2:]]


@case
async def an_expectation_that_does_not_hold_is_stale_and_writes_nothing(opened: Opened) -> None:
    store = await opened(Retention())
    row = await stepped(store, await made(store, creation(row_of())), 2)
    before = await loaded(store, row)

    for expected in (("inc", 2), ("inc", 4), ("other", 3)):
        for change in (step(row, 7, state=b"no"), move(row, "reset", 0), end(row)):
            assert await one(store, replace(change, expected=expected)) == Stale(row)

    assert await loaded(store, row) == before
    assert len(await history(store, row)) == 3


@case
async def a_stale_change_does_not_keep_the_others_of_its_tick(opened: Opened) -> None:
    store = await opened(Retention())
    rows = [await made(store, creation(row_of(f"s{at}"))) for at in range(4)]
    moved = await stepped(store, rows[1], 1)

    outcomes = await store.commit(
        [step(rows[0]), step(rows[1]), step(row_of("unknown")), end(rows[2]), step(rows[3])]
    )

    assert outcomes == [Committed(), Stale(moved), Gone(None), Committed(), Committed()]
    assert await store.row(rows[0].key) == step(rows[0]).row


@case
async def several_changes_of_one_session_follow_each_other_in_one_commit(opened: Opened) -> None:
    store = await opened(Retention())
    first = creation(row_of(), "made")
    second = step(first.row, key="k")
    third = step(second.row, state=b"here")
    again = creation(row_of(incarnation="new"))

    outcomes = await store.commit(
        [first, second, second, first, step(first.row), third, end(third.row), again]
    )

    assert outcomes == [
        Committed(),
        Committed(),
        Replayed(_record(second)),
        Replayed(_record(first)),
        Stale(second.row),
        Committed(),
        Committed(),
        Committed(),
    ]
    stored = await loaded(store, again.row)
    assert (stored.row, stored.records, stored.replies) == (again.row, [], [])


@case
async def a_key_used_before_gets_its_reply_whatever_it_expects(opened: Opened) -> None:
    store = await opened(Retention())
    begin = creation(row_of(), "k0")
    row = await made(store, begin)
    first = step(row, 3, key="k1", state=b"three")
    row = await made(store, first)
    row = await stepped(store, row, 2)

    assert await one(store, first) == Replayed(_record(first))
    other = replace(step(row, 9, key="k1"), expected=("inc", row.revision))
    assert await one(store, other) == Replayed(_record(first))
    assert await one(store, creation(row_of(incarnation="x"), "k0")) == Replayed(_record(begin))
    assert await store.row(row.key) == row


@case
async def the_last_replies_are_kept_and_come_with_a_session(opened: Opened) -> None:
    store = await opened(Retention(replies=3, history_rows=4, checkpoint_spacing=2))
    row = await made(store, creation(row_of(), "k0"))
    changes: list[Change] = []
    for at in range(1, 7):
        changes.append(step(row, key=f"k{at}"))
        row = await made(store, changes[-1])
    row = await stepped(store, row, 40, every=2)  # none with a key, and far past the history

    assert (await loaded(store, row)).replies == [_record(change) for change in changes[-3:]]
    for change in changes[-3:]:
        assert await one(store, change) == Replayed(_record(change))


@case
async def a_change_that_keeps_the_revision_adds_its_checkpoint_alone(opened: Opened) -> None:
    store = await opened(Retention())
    row = await stepped(store, await made(store, creation(row_of())), 3)
    change = Change(row, (row.incarnation, 4), checkpoint=Checkpoint(4, 3, b"evicted"))

    for _ in range(2):  # the second finds it there
        assert await one(store, change) == Committed()

    stored = await loaded(store, row)
    assert (stored.row, stored.checkpoint, stored.records) == (row, change.checkpoint, [])
    row = await stepped(store, row, 1)
    stored = await loaded(store, row)
    assert stored.checkpoint == change.checkpoint and len(stored.records) == 1


@case
async def another_state_put_in_place_is_where_the_session_goes_on(opened: Opened) -> None:
    store = await opened(Retention())
    row = await stepped(store, await made(store, creation(row_of())), 3)
    row = await made(store, move(row, "reset", 0))
    assert (await loaded(store, row)).checkpoint == Checkpoint(5, 0, None)
    row = await made(
        store, move(row, "migrate", 2, b"moved", version="2", fingerprint="other bundle")
    )
    row = await stepped(store, row, 2)

    stored = await loaded(store, row)

    assert stored.row == row and (row.version, row.step, row.revision) == ("2", 4, 8)
    assert (stored.checkpoint.state, rebuilt(stored)) == (b"moved", 4)
    assert [record.kind for record in stored.replies] == ["reset", "migrate"]


@case
async def what_has_ended_is_gone_for_its_reason(opened: Opened) -> None:
    store = await opened(Retention())
    for reason in ("deleted", "expired"):
        row = await stepped(store, await made(store, creation(row_of(reason))), 2, every=2)
        row = await made(store, snapshot(row, "kept", b"kept"))
        await made(store, end(row, reason))

        for answer in (
            await store.load(row.key),
            await store.row(row.key),
            await store.at(row.key, step=1),
            await store.history(row.key, None, 5),
            await store.snapshots(row.key),
            await one(store, step(row)),
            await one(store, end(row)),
        ):
            assert answer == Gone(reason)
    assert await store.rows("acme", None, 9, None) == []
    assert await store.load(SessionKey("acme", "never")) == Gone(None)
    assert await store.load(SessionKey("bell", "deleted")) == Gone(None)


@case
async def a_tombstone_is_kept_for_its_time(opened: Opened) -> None:
    store = await opened(Retention(tombstone_s=0.0))
    row = await made(store, creation(row_of()))
    await made(store, end(row))

    assert await store.load(row.key) == Gone(None)
    assert await one(store, step(row)) == Gone(None)


@case
async def a_name_used_again_has_nothing_of_its_predecessor(opened: Opened) -> None:
    store = await opened(Retention())
    row = await made(store, creation(row_of(), "k"))
    old = step(row, 3, key="k2", state=b"old")
    row = await made(store, snapshot(await made(store, old), "kept", b"kept"))
    await made(store, end(row))

    again = await made(store, creation(row_of(incarnation="new"), "k"))

    stored = await loaded(store, again)
    assert (stored.row, stored.checkpoint) == (again, Checkpoint(1, 0, None))
    assert (stored.records, len(stored.replies)) == ([], 1)
    assert await store.snapshots(again.key) == []
    assert await store.at(again.key, step=3) is None
    assert await one(store, old) == Stale(again)


@case
async def rows_are_a_tenants_sessions_from_a_cursor_on(opened: Opened) -> None:
    store = await opened(Retention())
    changes = [
        creation(row_of(name, model="copy" if name < "d" else "sort"))
        for name in ("d", "b", "a", "e", "c")
    ]
    assert await store.commit(changes) == [Committed()] * 5
    await made(store, creation(row_of("bb", "bell")))
    latest = await stepped(store, changes[1].row, 2)

    async def names(
        after: str | None = None, limit: int = 9, model: str | None = None, tenant: str = "acme"
    ) -> str:
        return "".join([row.id for row in await store.rows(tenant, after, limit, model)])

    assert await names() == "abcde"
    assert (await names(limit=2), await names("b", 2), await names("e")) == ("ab", "cd", "")
    assert (await names(model="sort"), await names("d", 9, "sort")) == ("de", "e")
    assert (await names("bb"), await names(model="none")) == ("cde", "")
    assert (await names(tenant="bell"), await names(tenant="eve")) == ("bb", "")
    assert (await store.rows("acme", "a", 1, None)) == [latest]


@case
async def sessions_are_counted_by_model_and_version(opened: Opened) -> None:
    store = await opened(Retention())
    row = await made(store, creation(row_of("a")))
    await made(store, creation(row_of("b", version="2")))
    await made(store, creation(row_of("c", tenant="bell")))
    row = await made(store, move(row, "migrate", 0, b"x", version="2"))

    counted = [await store.count(("copy", version)) for version in ("1", "2", "3")]
    assert counted == [1, 2, 0] and await store.count() == 3
    await made(store, end(row))
    assert await store.count(("copy", "2")) == 1 and await store.count() == 2


@case
async def each_tenants_sessions_are_counted_apart(opened: Opened) -> None:
    store = await opened(Retention())
    row = await made(store, creation(row_of("a")))
    await made(store, creation(row_of("b", model="sort")))
    other = await made(store, creation(row_of("a", tenant="bell/ä:2")))
    assert await store.usage("acme") == {("copy", "1"): 1, ("sort", "1"): 1}
    assert await store.usage("bell/ä:2") == {("copy", "1"): 1}
    assert await store.usage("eve") == {}
    assert set(await store.tenants()) == {"acme", "bell/ä:2"}

    await made(store, step(row))
    row = await made(store, move(step(row).row, "migrate", 0, b"x", version="2"))
    assert await store.usage("acme") == {("copy", "2"): 1, ("sort", "1"): 1}
    await made(store, end(row))
    await made(store, end(other))
    assert await store.usage("acme") == {("sort", "1"): 1}
    assert await store.usage("bell/ä:2") == {} and "acme" in await store.tenants()


@case
async def expired_are_those_past_their_ttl_since_their_last_commit(opened: Opened) -> None:
    store = await opened(Retention())
    idle = await made(store, creation(row_of("idle", committed_at=LONG_AGO, idle_ttl_s=10.0)))
    used = await made(store, creation(row_of("used", committed_at=LONG_AGO, idle_ttl_s=10.0)))
    await made(store, creation(row_of("long", committed_at=LONG_AGO)))
    used = await made(store, step(used, at=LONG_AGO + 8))

    assert await store.expired(LONG_AGO + 9.9, 9) == []
    assert await store.expired(LONG_AGO + 10.5, 9) == [idle]
    assert await store.expired(LONG_AGO + 12.5, 9) == [idle]  # until it has ended
    await made(store, end(idle, "expired"))
    assert await store.expired(LONG_AGO + 14.5, 9) == []
    assert await store.expired(LONG_AGO + 18.5, 9) == [used]


@case
async def expired_are_no_more_than_asked_for(opened: Opened) -> None:
    store = await opened(Retention())
    for at in range(7):
        row = row_of(f"s{at}", committed_at=LONG_AGO, idle_ttl_s=10.0 + at)
        await made(store, creation(row))

    ended: set[str] = set()
    for _ in range(3):
        some = await store.expired(LONG_AGO + 50, 3)
        assert len(some) <= 3
        await store.commit([end(row, "expired") for row in some])
        ended |= {row.id for row in some}

    assert ended == {f"s{at}" for at in range(7)}


@case
async def any_step_of_the_history_can_be_reached(opened: Opened) -> None:
    store = await opened(Retention(replies=2, history_rows=20, checkpoint_spacing=8))
    row = await stepped(store, await made(store, creation(row_of(), state=b"at 0")), 100, every=4)

    assert [record.step for record in (await history(store, row))[:20]] == list(range(100, 80, -1))
    for at in range(81, 101):
        stored = await reached(store, row, step=at)
        assert (rebuilt(stored), stored.row) == (at, row)
        assert stored.checkpoint.state == b"at %d" % stored.checkpoint.step
        assert len(stored.records) <= 8 + 4
        assert rebuilt(await reached(store, row, revision=at + 1)) == at
    assert await store.at(row.key, step=101) is None
    assert await store.at(row.key, revision=102) is None


@case
async def what_falls_out_of_the_history_goes_in_time(opened: Opened) -> None:
    store = await opened(Retention(replies=2, history_rows=20, checkpoint_spacing=8))
    row = await stepped(store, await made(store, creation(row_of())), 400, every=4)

    assert len(await history(store, row)) < 300
    assert await store.at(row.key, step=50) is None


@case
async def resets_without_end_do_not_pile_up(opened: Opened) -> None:
    store = await opened(Retention(replies=2, history_rows=20, checkpoint_spacing=8))
    row = await made(store, creation(row_of()))
    for at in range(400):
        row = await made(store, move(row, "import", 0, b"%d" % at))

    assert 20 <= len(await history(store, row)) < 300


@case
async def a_step_within_a_request_is_led_past_by_its_record(opened: Opened) -> None:
    store = await opened(Retention())
    row = await made(store, creation(row_of()))
    for rows in (3, 4, 5):
        row = await made(store, step(row, rows))

    for at, steps in ((0, []), (3, [3]), (4, [3, 7]), (7, [3, 7]), (9, [3, 7, 12])):
        stored = await reached(store, row, step=at)
        assert [record.step for record in stored.records] == steps
    assert await store.at(row.key, step=13) is None


@case
async def a_step_stood_at_more_than_once_is_its_latest_time(opened: Opened) -> None:
    store = await opened(Retention())
    row = await stepped(store, await made(store, creation(row_of(), state=b"first")), 3)
    row = await made(store, move(row, "restore", 1, b"again"))
    row = await stepped(store, row, 1)

    stored = await reached(store, row, step=2)
    assert (stored.checkpoint.state, rebuilt(stored)) == (b"again", 2)
    stored = await reached(store, row, step=3)
    assert (stored.checkpoint.state, rebuilt(stored)) == (b"first", 3)
    stored = await reached(store, row, revision=3)
    assert (stored.checkpoint.state, rebuilt(stored)) == (b"first", 2)


@case
async def history_is_paged_newest_first(opened: Opened) -> None:
    store = await opened(Retention())
    changes = [creation(row_of())]
    for rows in range(1, 6):
        changes.append(step(changes[-1].row, rows, state=b"x" if rows == 3 else None))
    for change in changes:
        await made(store, change)
    row = changes[-1].row
    told = [_record(change) for change in reversed(changes)]

    assert await history(store, row) == told
    assert await history(store, row, None, 2) == told[:2]
    assert await history(store, row, 5, 3) == told[2:5]
    assert await history(store, row, 3, 3) == told[4:]
    assert await history(store, row, 1) == []
    assert await history(store, row, 99, 1) == told[:1]


@case
async def snapshots_stay_as_they_were_taken(opened: Opened) -> None:
    store = await opened(Retention(replies=1, history_rows=4, checkpoint_spacing=2))
    row = await made(store, creation(row_of()))
    for at in range(1, 5):
        row = await stepped(store, row, 1, every=2)
        name = "first" if at < 3 else "second"  # each twice: the first time counts
        assert await made(store, snapshot(row, name, b"taken %d" % at, 10.0 + at)) == row
    row = await stepped(store, row, 40, every=2)

    taken = await store.snapshots(row.key)

    assert isinstance(taken, list) and taken == [
        Checkpoint(2, 1, None, "first", 11.0, "key of first", b"taken"),
        Checkpoint(4, 3, None, "second", 13.0, "key of second", b"taken"),
    ]
    stored = await reached(store, row, snapshot="second")
    assert stored == Stored(row, replace(taken[1], state=b"taken 3"), [], [])
    assert await store.at(row.key, snapshot="third") is None


@case
async def a_session_is_replaced_by_another_of_its_id_in_one_commit(opened: Opened) -> None:
    store = await opened(Retention())
    old = await stepped(store, await made(store, creation(row_of())), 3, every=2)
    new = replace(old, incarnation="next", revision=1, step=0)
    first = step(new, rows=2, key="first")

    replaced = [end(old, "replaced"), creation(new), first]
    assert await store.commit(replaced) == [Committed()] * 3
    assert await loaded(store, new) == Stored(
        first.row, Checkpoint(1, 0, None), [_record(first)], [_record(first)]
    )
    assert [record.kind for record in await history(store, new)] == ["step", "create"]
    assert await store.count() == 1
    assert [row.incarnation for row in await store.rows("acme", None, 9, None)] == ["next"]

    other = replace(new, incarnation="late")
    late = [end(old, "replaced"), creation(other), step(other, key="late")]
    assert await store.commit(late) == [Stale(first.row)] * 3
    repeat = [end(old, "replaced"), creation(other), step(other, key="first")]
    assert (await store.commit(repeat))[-1] == Replayed(_record(first))
    assert (await loaded(store, new)).row == first.row


@case
async def a_last_step_leaves_its_reason_and_nothing_else(opened: Opened) -> None:
    store = await opened(Retention())
    row = await stepped(store, await made(store, creation(row_of())), 2)
    last = step(row, key="last")
    reason = "ended " + "a long reason, /+= " * 5_000
    ending = replace(last, ended=reason, checkpoint=None)

    assert await one(store, replace(ending, expected=("inc", 99))) == Stale(row)
    assert await one(store, ending) == Committed()
    assert await store.load(row.key) == Gone(reason)
    assert await store.row(row.key) == Gone(reason)
    assert await one(store, ending) == Gone(reason)
    assert await store.count() == 0
    assert await store.rows("acme", None, 9, None) == []


@case
async def forks_and_their_parent_live_apart(opened: Opened) -> None:
    store = await opened(Retention())
    row = await stepped(store, await made(store, creation(row_of("parent"))), 2, every=2)
    fork = await made(store, creation(row_of("fork", step=2, forked_from="parent"), state=b"at 2"))
    await made(store, end(row))

    assert (await loaded(store, fork)).checkpoint == Checkpoint(1, 2, b"at 2")
    again = await made(store, creation(row_of("second", step=2), state=b"at 2"))
    await made(store, end(fork))
    assert (await loaded(store, again)).checkpoint.state == b"at 2"


@case
async def bytes_come_back_as_they_went_in(opened: Opened) -> None:
    store = await opened(Retention())
    keys = ["Zz.~-_9", "äöü ☃", "a:b{c}d,'\"", "x" * 200]
    blobs: Sequence[bytes] = [b"", b"\0\xff" * 9000, bytes(range(256)), b"\r\n"]
    for at, (key, blob) in enumerate(zip(keys, blobs, strict=True)):
        row = await made(store, creation(row_of(f"S.~-_{at}", f"tenant {at}"), "made", blob))
        after = step(row, key=key)
        record = replace(_record(after), rows=blob, outputs=blob[::-1], fingerprint=blob[:20])
        await made(store, replace(after, record=record))

        stored = await loaded(store, after.row)
        assert (stored.row, stored.checkpoint.state) == (after.row, blob)
        assert stored.records == [record] and stored.replies[-1] == record
        assert await one(store, after) == Replayed(record)


def _record(change: Change) -> Record:
    assert change.record is not None
    return change.record
