"""Wake-ups: only for who watches, also over another server's bell, and none is lost."""

from __future__ import annotations

import asyncio

import pytest

from service.engine import feeds
from service.engine.feeds import KEPT, Feeds
from service.store.store import Change, Committed, Gone, Heard, SessionKey, SessionRow

KEY, OTHER = SessionKey("alice", "s"), SessionKey("alice", "t")


def change(key: SessionKey) -> Change:
    row = SessionRow(*key, "copy", "1", "bundle", "8kq3", 2, 1, 0.0, 0.0, 60.0)
    return Change(row, ("8kq3", 1))


class Bells:
    """The bell of a store that two engines share."""

    def __init__(self) -> None:
        self.followed: dict[SessionKey, list[Heard]] = {}

    def follow(self, key: SessionKey, heard: Heard) -> None:
        self.followed.setdefault(key, []).append(heard)

    def unfollow(self, key: SessionKey) -> None:
        del self.followed[key]

    def ring(self, key: SessionKey, told: bytes) -> None:
        for heard in self.followed.get(key, []):
            heard(key, told)


async def test_a_commit_wakes_those_who_watch_its_session_and_nobody_else():
    known = Feeds(None)
    with known.watched_by(1, KEY) as (_, mine), known.watched_by(2, OTHER) as (_, other):
        known.committed([change(KEY), change(OTHER)], [Committed(), Gone(None)])
        assert (mine.woken.is_set(), other.woken.is_set()) == (True, False)


async def test_a_notice_is_kept_for_a_watched_session_only_and_the_latest_of_them():
    known = Feeds(None)
    known.tell(KEY, "forked", 1, id="nobody watches")
    with known.watched_by(1, KEY) as (feed, watcher):
        assert not feed.notices and not watcher.woken.is_set()
        for at in range(KEPT + 3):
            known.tell(KEY, "snapshotted", at, name=str(at))
        assert watcher.woken.is_set()
        assert [notice.revision for notice in feed.notices] == list(range(3, KEPT + 3))
        numbers = [notice.number for notice in feed.notices]
        assert numbers == sorted(set(numbers))


async def test_what_one_server_tells_is_heard_by_the_watchers_of_another():
    bells = Bells()
    here, there = Feeds(bells), Feeds(bells)
    with here.watched_by(1, KEY) as (_, mine), there.watched_by(1, KEY) as (feed, theirs):
        here.tell(KEY, "forked", 3, id="child")
        assert [(n.kind, n.revision, n.facts) for n in feed.notices] == [
            ("forked", 3, {"id": "child"})
        ]
        assert mine.woken.is_set() and theirs.woken.is_set()
        theirs.woken.clear()
        bells.ring(KEY, b"")
        assert theirs.woken.is_set() and len(feed.notices) == 1


async def test_a_feed_that_nobody_asks_for_is_let_go_of(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feeds, "IDLE_S", 0.01)
    bells = Bells()
    known = Feeds(bells)
    for _ in range(2):  # between two questions of one watcher it stays
        with known.watched_by(1, KEY) as (feed, _):
            known.tell(KEY, "forked", 1, id="child")
    assert len(feed.notices) == 2
    async with asyncio.timeout(20):
        while KEY in bells.followed:
            await asyncio.sleep(0.002)
    with known.watched_by(1, KEY) as (feed, _):
        assert not feed.notices and KEY in bells.followed


async def test_who_leaves_is_woken_and_so_is_everybody_when_it_closes():
    known = Feeds(None)
    with known.watched_by(1, KEY) as (_, gone), known.watched_by(2, KEY) as (_, stays):
        known.leave(1)
        known.leave("nobody")
        assert (gone.here, gone.woken.is_set()) == (False, True)
        assert (stays.here, stays.woken.is_set()) == (True, False)
        known.close()
        assert (stays.here, stays.woken.is_set()) == (False, True)
    with known.watched_by(3, KEY) as (_, late):
        assert not late.here
