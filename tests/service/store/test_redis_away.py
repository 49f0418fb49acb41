"""A Redis server that is killed, paused, full: nothing hangs, is lost or done twice."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from service.store.redis import RedisStore
from service.store.store import (
    Committed,
    SessionKey,
    SessionRow,
    Stale,
    Stored,
    StoreUnavailable,
)
from tests.service.store.redis_server import running
from tests.service.store.redis_store import (
    KEY,
    TIMEOUT_S,
    created,
    creation,
    opened,
    replay_of,
    step,
    stepped,
    until_it_answers,
)


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
            assert outcome in (Committed(), replay_of(change))
            assert await store.commit([change]) == [replay_of(change)]
            assert await store.row(KEY) == change.row


async def test_a_full_server_refuses_a_commit_whole(redis_store: RedisStore, raw_redis: Any):
    row = await created(redis_store)
    await raw_redis.config_set("maxmemory", 1)
    with pytest.raises(StoreUnavailable) as caught:
        await redis_store.commit([step(row, state=b"much"), creation(SessionKey("acme", "new"))])
    assert not caught.value.sent
    await raw_redis.config_set("maxmemory", 0)
    assert await redis_store.row(KEY) == row
    assert await redis_store.rows("acme", None, 10, None) == [row]
    await stepped(redis_store, row)


async def test_a_server_that_came_back_with_an_older_log_shows_the_older_row(tmp_path: Path):
    with running(tmp_path / "server") as server:
        async with opened(server) as store:
            old = await stepped(store, await created(store))
            server.kill()
            shutil.copytree(server.folder, tmp_path / "older")
            server.start()
            row = await until_it_answers(lambda: stepped(store, old, 2))
            server.kill()
            shutil.rmtree(server.folder)
            shutil.copytree(tmp_path / "older", server.folder)
            server.start()
            # What was acknowledged is higher, of the same incarnation: the engine can tell.
            assert await until_it_answers(lambda: store.commit([step(row)])) == [Stale(old)]
            assert await store.row(KEY) == old
