"""Who waits for a session to move: the wake-ups behind Watch (watching.py has what is told).

A wake-up says that there is something to read, and carries nothing: what was done is read from
the store, by revision. Only what raises no revision (a fork, a snapshot, an eviction) is kept
here, the latest of each watched session, as it is nowhere else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator, Hashable, Sequence
from contextlib import contextmanager
from time import time_ns
from typing import Any

import msgspec

from service.results import Notice
from service.store.store import Bell, Change, Committed, Outcome, SessionKey

NOTICE = msgspec.msgpack.Decoder(Notice)
KEPT = 64  # notices of one session
IDLE_S = 60.0  # a feed that nobody has asked for as long is let go of


class Watcher:
    """One who waits. `here`: there is somebody to tell."""

    def __init__(self) -> None:
        self.here, self.woken = True, asyncio.Event()

    def leave(self) -> None:
        """Nobody is there to be told any more."""
        self.here = False
        self.woken.set()


class Feed:
    """One watched session."""

    def __init__(self) -> None:
        self.notices: deque[Notice] = deque(maxlen=KEPT)
        self.watchers: set[Watcher] = set()
        self.idle: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        """Whoever waits looks again."""
        for watcher in self.watchers:
            watcher.woken.set()


class Feeds:
    """The watched sessions of one engine. Of those that nobody watches it knows nothing.

    bell: rings where other servers share the store.
    """

    def __init__(self, bell: Bell | None) -> None:
        self._bell = bell
        self._feeds: dict[SessionKey, Feed] = {}
        self._watchers: dict[Hashable, Watcher] = {}
        self._last = 0
        self._closed = False

    @contextmanager
    def watched_by(self, name: Hashable, key: SessionKey) -> Generator[tuple[Feed, Watcher]]:
        """The feed of a session, and one who is woken whenever there may be news of it."""
        feed, watcher = self._feed(key), Watcher()
        self._watchers[name] = watcher
        feed.watchers.add(watcher)
        if self._closed:
            watcher.leave()
        try:
            yield feed, watcher
        finally:
            del self._watchers[name]
            feed.watchers.discard(watcher)
            if not feed.watchers:
                feed.idle = asyncio.get_running_loop().call_later(IDLE_S, self._forget, key)

    def leave(self, name: Hashable) -> None:
        """That one has gone, if he watched at all."""
        if name in self._watchers:
            self._watchers[name].leave()

    def close(self) -> None:
        """Nobody watches any longer."""
        self._closed = True
        for watcher in self._watchers.values():
            watcher.leave()

    def committed(self, changes: Sequence[Change], outcomes: Sequence[Outcome]) -> None:
        """These changes had these outcomes: wake those who wait for what was committed."""
        if self._feeds:
            for change, outcome in zip(changes, outcomes, strict=True):
                key = (change.row.tenant, change.row.id)  # equals the SessionKey, and takes less
                if key in self._feeds and isinstance(outcome, Committed):
                    self._heard(change.row.key, b"")

    def tell(self, key: SessionKey, kind: str, revision: int, **facts: Any) -> None:
        """What happened to a session at a revision and raised none, here and on other servers."""
        if self._bell is None and key not in self._feeds:
            return
        told = msgspec.msgpack.encode(Notice(kind, revision, 0, facts))
        if self._bell is not None:
            self._bell.ring(key, told)  # and is heard here too
        else:
            self._heard(key, told)

    def _feed(self, key: SessionKey) -> Feed:
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = Feed()
            if self._bell is not None:
                self._bell.follow(key, self._heard)
        if feed.idle is not None:
            feed.idle.cancel()
            feed.idle = None
        return feed

    def _heard(self, key: SessionKey, told: bytes) -> None:
        """Somebody moved a session, or told something of it."""
        feed = self._feeds.get(key)
        if feed is None:
            return
        if told:
            notice = NOTICE.decode(told)
            self._last = max(self._last + 1, time_ns())  # goes on rising after a restart
            feed.notices.append(Notice(notice.kind, notice.revision, self._last, notice.facts))
        feed.wake()

    def _forget(self, key: SessionKey) -> None:
        del self._feeds[key]
        if self._bell is not None:
            self._bell.unfollow(key)
