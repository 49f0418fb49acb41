"""The Redis store against real servers: killed, paused, misconfigured, damaged, in a cluster."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis
from redis.crc import key_slot

from service.store.memory import MemoryStore
from service.store.redis import RedisStore, open_redis
from service.store.redis_check import REQUIRED, StoreRefused
from service.store.redis_format import PARTS, keys_of
from service.store.redis_index import EXPIRY, Entry, enter, tag_of
from service.store.store import (
    Change,
    Checkpoint,
    Committed,
    Damaged,
    Gone,
    Record,
    Replayed,
    Retention,
    SessionKey,
    SessionRow,
    Stale,
    Stored,
    StoreUnavailable,
)
from service.store.timeline import Mark, outdated
from tests.service.store.redis_cluster import cluster
from tests.service.store.redis_server import RedisServer, running

KEY = SessionKey("acme", "s")
TIMEOUT_S = 0.4
PATIENT_S = 20.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
async def raw(server: RedisServer) -> AsyncIterator[Redis]:
    """What reads and writes the empty server past the store."""
    client = Redis.from_url(server.url, protocol=2)
    await client.flushall()
    yield client
    await client.aclose()


@asynccontextmanager
async def opened(
    server: RedisServer, timeout_s: float = PATIENT_S, retention: Retention | None = None
) -> AsyncIterator[RedisStore]:
    store = await open_redis(server.url, retention=retention, timeout_s=timeout_s)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(server: RedisServer, raw: Redis) -> AsyncIterator[RedisStore]:
    async with opened(server) as store:
        yield store


def new_row(key: SessionKey = KEY, incarnation: str = "first") -> SessionRow:
    now = time.time()
    return SessionRow(*key, "copy", "1", "bundle", incarnation, 1, 0, now, now, 3600.0)


def creation(key: SessionKey = KEY, incarnation: str = "first") -> Change:
    state = Checkpoint(1, 0, f"state of {key.id}".encode())
    return Change(new_row(key, incarnation), None, Record("create", 1, 0), state)


def step(row: SessionRow, key: str | None = None, state: bytes | None = None) -> Change:
    """One more row; with a checkpoint where a state is given."""
    after = replace(row, revision=row.revision + 1, step=row.step + 1)
    record = Record("step", after.revision, after.step, b"in", b"out", 1, key, b"print")
    checkpoint = None if state is None else Checkpoint(after.revision, after.step, state)
    return Change(after, (row.incarnation, row.revision), record, checkpoint)


async def created(store: RedisStore, key: SessionKey = KEY) -> SessionRow:
    change = creation(key)
    assert await store.commit([change]) == [Committed()]
    return change.row


async def stepped(store: RedisStore, row: SessionRow, times: int = 1) -> SessionRow:
    for _ in range(times):
        change = step(row)
        assert await store.commit([change]) == [Committed()]
        row = change.row
    return row


async def until_it_answers(call: Callable[[], Awaitable[object]]) -> object:
    """The answer, once the store is back."""
    async with asyncio.timeout(PATIENT_S):
        while True:
            try:
                return await call()
            except StoreUnavailable:
                await asyncio.sleep(0.01)


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
    seed: int, server: RedisServer, raw: Redis
):
    rng = random.Random(seed)
    retention = Retention(rng.choice((0, 1, 3)), rng.choice((0, 5, 20)), rng.choice((1, 4, 16)))
    memory = MemoryStore(retention)
    async with opened(server, retention=retention) as store:
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
                    await assert_points_and_states(raw, key, kept[key])
            for model in (None, "copy"):
                assert await store.rows("acme", None, 10, model) == await memory.rows(
                    "acme", None, 10, model
                )
            for model in (None, ("copy", "1"), ("sort", "1")):
                assert await store.count(model) == await memory.count(model)


async def assert_points_and_states(raw: Redis, key: SessionKey, kept: Kept) -> None:
    """The checkpoints are those, and no state is stored that none of them names."""
    named = dict(zip(PARTS, keys_of(key), strict=True))
    texts: list[bytes] = await raw.lrange(named["points"], 0, -1)
    points = [text.split(b" ", 6) for text in texts]
    assert [int(point[0]) for point in points] == [mark.revision for mark in kept.checkpoints]
    assert {point[4] for point in points} - {b"-"} == set(await raw.hkeys(named["states"]))


async def test_any_kept_row_is_found_again(store: RedisStore):
    row = await created(store)
    for revision in range(2, 40):
        change = step(row, state=f"after {revision - 1}".encode() if revision % 8 == 0 else None)
        assert await store.commit([change]) == [Committed()]
        row = change.row
    for wanted in range(1, 39):
        found = await store.at(KEY, step=wanted)
        assert isinstance(found, Stored)
        assert found.checkpoint.step + sum(r.count for r in found.records) == wanted
        assert found.row == row
    assert await store.at(KEY, step=40) is None


async def test_of_two_servers_one_commits_a_revision_and_the_other_is_stale(
    server: RedisServer, store: RedisStore
):
    async with opened(server) as rival:
        row = await created(store)
        for at in range(30):
            changes = [step(row, state=f"{owner} {at}".encode()) for owner in ("one", "two")]
            outcomes = await asyncio.gather(store.commit(changes[:1]), rival.commit(changes[1:]))
            assert sorted(type(outcome[0]).__name__ for outcome in outcomes) == [
                "Committed",
                "Stale",
            ]
            winner = [outcome for (outcome,) in outcomes].index(Committed())
            stored = await store.load(KEY)
            assert (
                isinstance(stored, Stored)
                and stored.checkpoint.state
                == (changes[winner].checkpoint or pytest.fail("no checkpoint")).state
            )
            row = changes[winner].row


async def test_of_two_servers_with_one_key_one_commits_and_the_other_gets_its_reply(
    server: RedisServer, store: RedisStore
):
    async with opened(server) as rival:
        row = await created(store)
        for at in range(30):
            change = step(row, key=f"key {at}")
            outcomes = await asyncio.gather(store.commit([change]), rival.commit([change]))
            assert sorted(outcomes, key=str) == [[Committed()], [Replayed(change.record)]]
            row = change.row


async def test_one_stale_change_does_not_keep_the_others_of_its_tick(store: RedisStore):
    keys = [SessionKey("acme", f"s{at}") for at in range(3)]
    rows = [await created(store, key) for key in keys]
    await stepped(store, rows[1])
    outcomes = await store.commit([step(row) for row in rows])
    assert [type(outcome) for outcome in outcomes] == [Committed, Stale, Committed]


async def test_scripts_that_the_server_forgot_are_loaded_again(store: RedisStore, raw: Redis):
    row = await created(store)
    await raw.script_flush()
    row = await stepped(store, row)
    await raw.script_flush()
    assert await store.row(KEY) == row


async def test_what_was_acknowledged_outlives_a_killed_server(tmp_path: Path):
    with running(tmp_path) as server:
        async with opened(server, timeout_s=TIMEOUT_S) as store:
            rows = [await created(store, SessionKey("acme", f"s{at}")) for at in range(4)]
            committed = {row.key: row for row in rows}

            async def write(row: SessionRow) -> None:
                while True:
                    change = step(row, state=b"state" * row.revision)
                    try:
                        assert await store.commit([change]) == [Committed()]
                    except StoreUnavailable:
                        return
                    committed[row.key] = row = change.row

            writers = asyncio.gather(*(write(row) for row in rows))
            while min(row.revision for row in committed.values()) < 10:
                await asyncio.sleep(0.01)
            server.kill()
            await writers
            server.start()
            for key, row in committed.items():
                found = await until_it_answers(lambda key=key: store.load(key))
                # One more may have been committed and its answer lost.
                assert isinstance(found, Stored) and 0 <= found.row.revision - row.revision <= 1
                assert found.checkpoint.state == b"state" * (found.row.revision - 1)


async def test_while_the_server_is_away_nothing_hangs_and_nothing_is_sent(tmp_path: Path):
    with running(tmp_path) as server:
        async with opened(server, timeout_s=TIMEOUT_S) as store:
            row = await created(store)
            server.kill()
            begun = time.monotonic()
            for call in (
                lambda: store.load(KEY),
                lambda: store.commit([step(row)]),
                lambda: store.commit([creation(SessionKey("acme", "new"))]),
            ):
                with pytest.raises(StoreUnavailable) as caught:
                    await call()
                assert not caught.value.sent
            assert time.monotonic() - begun < 3 * TIMEOUT_S + 2
            server.start()
            row = (await until_it_answers(lambda: stepped(store, row))) and step(row).row
            assert await store.row(KEY) == row


async def test_a_short_absence_is_waited_out(tmp_path: Path):
    with running(tmp_path) as server:
        async with opened(server) as store:
            row = await created(store)
            server.kill()
            commit = asyncio.ensure_future(store.commit([step(row)]))
            await asyncio.sleep(0)
            await asyncio.to_thread(server.start)
            assert await commit == [Committed()]


async def test_a_paused_server_leaves_the_outcome_unknown_and_one_step_is_one_step(tmp_path: Path):
    with running(tmp_path) as server:
        async with opened(server, timeout_s=TIMEOUT_S) as store:
            row = await created(store)
            change = step(row, key="only once")
            server.pause()
            begun = time.monotonic()
            with pytest.raises(StoreUnavailable) as caught:
                await store.commit([change])
            assert caught.value.sent  # the kernel took it: it may yet be run
            with pytest.raises(StoreUnavailable) as caught:
                await store.commit([change])
            assert not caught.value.sent  # a server that hangs is sent nothing more
            assert time.monotonic() - begun < 4 * TIMEOUT_S + 2
            server.resume()
            (outcome,) = await until_it_answers(lambda: store.commit([change]))  # pyright: ignore
            assert outcome in (Committed(), Replayed(change.record))
            assert await store.commit([change]) == [Replayed(change.record)]
            assert await store.row(KEY) == change.row


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("appendonly", "no"),
        ("appendfsync", "everysec"),
        ("no-appendfsync-on-rewrite", "yes"),
        ("maxmemory-policy", "allkeys-lru"),
    ],
)
async def test_a_server_that_may_lose_commits_is_refused_by_name(
    name: str, value: str, server: RedisServer, raw: Redis
):
    await raw.config_set(name, value)
    try:
        with pytest.raises(StoreRefused, match=f"{name} {value}, expected {REQUIRED[name]}"):
            await open_redis(server.url, timeout_s=PATIENT_S)
        with pytest.raises(StoreRefused, match=name):
            await open_redis(server.url, timeout_s=PATIENT_S, trust_durability=True)
    finally:
        await raw.config_set(name, REQUIRED[name])
    await (await open_redis(server.url, timeout_s=PATIENT_S)).close()


async def test_a_server_that_came_back_with_other_settings_is_not_written_to(tmp_path: Path):
    with running(tmp_path) as server:
        async with opened(server, timeout_s=TIMEOUT_S) as store:
            row = await created(store)
            server.kill()
            server.settings["appendfsync"] = "everysec"
            server.start()
            for call in (lambda: store.load(KEY), lambda: store.commit([step(row)])):
                with pytest.raises(StoreUnavailable, match="everysec, expected always") as why:
                    await call()
                assert not why.value.sent


async def test_a_server_that_does_not_tell_is_taken_at_its_operators_word_alone(tmp_path: Path):
    with running(tmp_path, rename_command='CONFIG ""') as server:
        with pytest.raises(StoreRefused, match="appendfsync.*NTM_REDIS_TRUST_DURABILITY=1"):
            await open_redis(server.url, timeout_s=PATIENT_S)
        store = await open_redis(server.url, timeout_s=PATIENT_S, trust_durability=True)
        await created(store)
        await store.close()
        server.kill()
        server.settings["appendonly"] = "no"
        server.start()  # which INFO tells even so
        with pytest.raises(StoreRefused, match="appendonly no, expected yes"):
            await open_redis(server.url, timeout_s=PATIENT_S, trust_durability=True)


@pytest.mark.parametrize("durability", ["async", "off"])
async def test_weaker_durability_is_refused_on_a_shared_store(durability: str):
    with pytest.raises(StoreRefused, match=f"NTM_DURABILITY={durability}"):
        await open_redis("redis://127.0.0.1:1/0", durability)


async def test_a_server_that_is_not_there_is_unavailable_at_start():
    with pytest.raises(StoreUnavailable):
        await open_redis("redis://127.0.0.1:1/0", timeout_s=TIMEOUT_S)


async def test_a_full_server_refuses_a_commit_whole(store: RedisStore, raw: Redis):
    row = await created(store)
    await raw.config_set("maxmemory", 1)
    with pytest.raises(StoreUnavailable) as caught:
        await store.commit([step(row, state=b"much"), creation(SessionKey("acme", "new"))])
    assert not caught.value.sent
    await raw.config_set("maxmemory", 0)
    assert await store.row(KEY) == row
    assert await store.rows("acme", None, 10, None) == [row]
    await stepped(store, row)


def spoilt(data: bytes) -> bytes:
    """One bit of it is another."""
    return data[:-1] + bytes([data[-1] ^ 1])


async def spoil_row(raw: Redis, keys: dict[str, str]) -> None:
    await raw.hset(keys["session"], "row", spoilt(await raw.hget(keys["session"], "row")))


async def spoil_state(raw: Redis, keys: dict[str, str]) -> None:
    for digest, state in (await raw.hgetall(keys["states"])).items():
        await raw.hset(keys["states"], digest, spoilt(state))


async def lose_state(raw: Redis, keys: dict[str, str]) -> None:
    await raw.delete(keys["states"])


async def spoil_checkpoint(raw: Redis, keys: dict[str, str]) -> None:
    await raw.lset(keys["points"], -1, spoilt(await raw.lindex(keys["points"], -1)))


async def spoil_record(raw: Redis, keys: dict[str, str]) -> None:
    entries = await raw.xrange(keys["log"])
    await raw.delete(keys["log"])
    for number, fields in entries:
        data = fields[b"d"]
        await raw.xadd(keys["log"], {b"d": spoilt(data) if number == b"3-0" else data}, number)


async def lose_record(raw: Redis, keys: dict[str, str]) -> None:
    await raw.xdel(keys["log"], "3-0")


async def replace_log(raw: Redis, keys: dict[str, str]) -> None:
    await raw.set(keys["log"], "no log")


@pytest.mark.parametrize(
    "damage",
    [
        spoil_row,
        spoil_state,
        lose_state,
        spoil_checkpoint,
        spoil_record,
        lose_record,
        replace_log,
    ],
)
async def test_a_damaged_session_is_told_and_the_others_are_served(
    damage: Callable[[Redis, dict[str, str]], Awaitable[None]], store: RedisStore, raw: Redis
):
    other = SessionKey("acme", "whole")
    row = await stepped(store, await created(store), 3)
    whole = await stepped(store, await created(store, other), 3)
    await damage(raw, dict(zip(PARTS, keys_of(KEY), strict=True)))
    found = await store.load(KEY)
    assert isinstance(found, Damaged) and found.detail
    assert isinstance(await store.at(KEY, step=2), Damaged | None)
    outcomes = await store.commit([step(replace(row, revision=1), key="k"), step(whole)])
    assert isinstance(outcomes[0], Stale | Damaged)
    assert outcomes[1] == Committed()
    assert isinstance(await store.load(other), Stored)


async def test_a_damaged_record_is_not_shown_in_the_history_or_replayed(
    store: RedisStore, raw: Redis
):
    row = await stepped(store, await created(store))
    change = step(row, key="k")
    assert await store.commit([change]) == [Committed()]
    await spoil_record(raw, dict(zip(PARTS, keys_of(KEY), strict=True)))
    assert isinstance(await store.history(KEY, None, 10), Damaged)
    assert isinstance((await store.commit([change]))[0], Damaged)


async def test_a_tombstone_tells_why_for_its_time(server: RedisServer, raw: Redis):
    retention = Retention(tombstone_s=0.3)
    async with opened(server, retention=retention) as store:
        row = await created(store)
        ended = Change(row, (row.incarnation, row.revision), ended="expired")
        assert await store.commit([ended]) == [Committed()]
        assert await store.load(KEY) == Gone("expired")
        assert (await store.commit([step(row)])) == [Gone("expired")]
        assert await raw.keys("ntm:{*") == [keys_of(KEY)[-1].encode()]  # and nothing else is left
        async with asyncio.timeout(PATIENT_S):
            while await store.row(KEY) != Gone(None):
                await asyncio.sleep(0.02)


async def test_idle_sessions_are_due_at_their_time_and_not_before(store: RedisStore):
    keys = [SessionKey(tenant, f"s{at}") for at, tenant in enumerate(("a", "b", "c", "d", "e"))]
    rows = {key: await created(store, key) for key in keys}
    fresh = step(rows[keys[1]])
    fresh = Change(replace(fresh.row, committed_at=time.time() + 100), fresh.expected, fresh.record)
    assert await store.commit([fresh]) == [Committed()]
    due_at = max(row.expires_at for row in rows.values())
    assert await store.expired(min(row.expires_at for row in rows.values()) - 1, 10) == []
    due = await store.expired(due_at, 10)
    assert {row.key for row in due} == {*keys} - {keys[1]}
    assert len(await store.expired(due_at, 2)) == 2
    for row in due:
        ended = Change(row, (row.incarnation, row.revision), ended="expired")
        assert await store.commit([ended]) == [Committed()]
    assert await store.expired(due_at, 10) == []
    assert await store.expired(fresh.row.expires_at, 10) == [fresh.row]


async def test_listing_goes_by_id_in_pages_over_many_sessions(store: RedisStore):
    names = sorted({f"{at % 7}-{at}" for at in range(150)} | {"a", "a-", "a.b", "ab"})
    await store.commit([creation(SessionKey("acme", name)) for name in names])
    seen: list[str] = []
    while page := await store.rows("acme", seen[-1] if seen else None, 20, None):
        seen += [row.id for row in page]
    assert seen == names


async def test_what_a_crash_left_listed_is_neither_shown_nor_kept(store: RedisStore, raw: Redis):
    row = await created(store)
    minutes_ago, now = int(time.time() - 300) * 1000, int(time.time() * 1000)
    for name, born in (("s", minutes_ago), ("gone", minutes_ago), ("about to be", now)):
        ghost = Entry("acme", name, f"{born}-ghost")
        for command in enter(ghost, tag_of("copy", "1"), 5.0):
            await raw.execute_command(*command.args)
    assert await store.rows("acme", None, 10, None) == [row]
    assert await store.expired(row.expires_at, 10) == [row]
    assert await store.count() == 2  # itself, and the one that may be about to be created
    assert await store.count(("copy", "1")) == 2
    assert await raw.zcard("ntm:tenant:acme") == 2


async def test_a_session_that_is_not_listed_is_listed_when_it_is_loaded(
    store: RedisStore, raw: Redis
):
    row = await created(store)
    await raw.delete(EXPIRY, "ntm:tenant:acme", "ntm:model:copy/1")
    assert await store.rows("acme", None, 10, None) == []
    assert isinstance(await store.load(KEY), Stored)
    assert await store.rows("acme", None, 10, None) == [row]
    assert await store.expired(row.expires_at, 10) == [row]
    assert await store.count(("copy", "1")) == 1


@pytest.mark.parametrize(
    "key", [KEY, SessionKey("", "s"), SessionKey("{}", "}"), SessionKey("a/b", "c{d}e")]
)
def test_all_keys_of_a_session_are_in_one_slot(key: SessionKey):
    keys = keys_of(key)
    assert len({key_slot(name.encode()) for name in keys}) == 1
    assert len(set(keys)) == len(PARTS)


def test_sessions_that_look_alike_have_keys_of_their_own():
    pairs = [("a/b", "c"), ("a", "b/c"), ("", "a/b/c"), ("a%2Fb", "c"), ("a}", "c"), ("a", "}c")]
    names = [name for pair in pairs for name in keys_of(SessionKey(*pair))]
    assert len(set(names)) == len(names)


async def test_the_scripts_touch_no_key_but_those_they_are_given(
    server: RedisServer, store: RedisStore
):
    client = Redis.from_url(server.url, protocol=2)
    async with client.monitor() as monitor:
        row = await created(store)
        for revision in range(2, 12):
            change = step(row, f"key {revision}", b"state" if revision % 2 else None)
            await store.commit([change])
            row = change.row
        await store.load(KEY)
        await store.at(KEY, step=3)
        await store.history(KEY, 9, 3)
        await store.snapshots(KEY)
        await store.commit([Change(row, (row.incarnation, row.revision), ended="deleted")])
        await store.row(KEY)
        await client.echo("the end")
        touched: set[str] = set()
        commands: set[str] = set()
        async for told in monitor.listen():
            words: list[str] = told["command"].split(" ")
            if words[0].upper() == "ECHO":
                break
            if told["client_type"] == "lua":
                commands.add(words[0])
                touched.update(words[1:] if words[0] == "UNLINK" else words[1:2])
    await client.aclose()
    assert touched <= set(keys_of(KEY))
    assert {"HMGET", "XADD", "XTRIM", "RPUSH", "UNLINK", "LINDEX"} <= commands


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    with cluster(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


async def test_a_cluster_keeps_sessions_on_all_its_servers(nodes: list[RedisServer]):
    async with opened(nodes[1]) as store:
        assert (
            len(await store.commit([creation(SessionKey("t", f"s{at}")) for at in range(30)])) == 30
        )
        rows = await store.rows("t", None, 100, None)
        assert len(rows) == 30 == await store.count() == await store.count(("copy", "1"))
        outcomes = await store.commit([step(row, state=row.id.encode()) for row in rows])
        assert outcomes == [Committed()] * 30
        for row in rows:
            found = await store.load(row.key)
            assert isinstance(found, Stored) and found.checkpoint.state == row.id.encode()
        assert all(int(node.ask("DBSIZE")[1:]) > 30 for node in nodes)
        for row in rows:
            ended = Change(row, (row.incarnation, 2), ended="deleted")
            assert await store.commit([ended]) == [Committed()]
        assert await store.count() == 0


class Move:
    """A slot that goes from one server of a cluster to another, bit by bit."""

    def __init__(self, nodes: list[RedisServer], key: str) -> None:
        self.nodes, self.slot = nodes, str(key_slot(key.encode()))
        (self.source,) = (
            node for node in nodes if int(node.ask("CLUSTER", "COUNTKEYSINSLOT", self.slot)[1:])
        )
        self.target = next(node for node in nodes if node is not self.source)

    def begin(self) -> None:
        self.target.ask("CLUSTER", "SETSLOT", self.slot, "IMPORTING", self._name(self.source))
        self.source.ask("CLUSTER", "SETSLOT", self.slot, "MIGRATING", self._name(self.target))

    async def carry(self) -> None:
        async with Redis.from_url(self.source.url, protocol=2) as client:
            keys = await client.execute_command("CLUSTER", "GETKEYSINSLOT", self.slot, 100)
            place = ("127.0.0.1", self.target.port, "", 0, 5000)
            await client.execute_command("MIGRATE", *place, "KEYS", *keys)

    def end(self) -> None:
        for node in self.nodes:
            node.ask("CLUSTER", "SETSLOT", self.slot, "NODE", self._name(self.target))

    def _name(self, node: RedisServer) -> str:
        return node.ask("CLUSTER", "MYID").split(b"\r\n")[1].decode()


async def test_a_session_whose_slot_moves_waits_and_is_found_where_it_went(
    nodes: list[RedisServer],
):
    async with opened(nodes[0]) as store, opened(nodes[0], timeout_s=TIMEOUT_S) as hasty:
        row = await created(store, SessionKey("acme", "moving"))
        move = Move(nodes, keys_of(row.key)[0])
        move.begin()
        with pytest.raises(StoreUnavailable) as caught:  # some of its keys, but not all, are there
            await hasty.commit([step(row)])
        assert not caught.value.sent
        waiting = asyncio.ensure_future(stepped(store, row))
        await move.carry()
        assert not waiting.done()
        move.end()
        row = await waiting
        assert await hasty.row(row.key) == row
        assert row.revision == 2


async def test_a_list_whose_slot_moves_is_asked_for_where_it_is(nodes: list[RedisServer]):
    async with opened(nodes[0]) as store:
        rows = [await created(store, SessionKey("listed", f"s{at}")) for at in range(3)]
        move = Move(nodes, "ntm:tenant:listed")
        move.begin()
        await move.carry()
        assert await store.rows("listed", None, 10, None) == rows
        move.end()
        assert await store.rows("listed", None, 10, None) == rows


async def test_a_server_of_a_cluster_that_may_lose_commits_is_refused(nodes: list[RedisServer]):
    nodes[2].ask("CONFIG", "SET", "appendfsync", "no")
    try:
        with pytest.raises(StoreRefused, match="appendfsync no, expected always"):
            await open_redis(nodes[0].url, timeout_s=PATIENT_S)
    finally:
        nodes[2].ask("CONFIG", "SET", "appendfsync", "always")
