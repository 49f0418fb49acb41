"""The one thread that uses the file. All changes that wait become one transaction.

    commit(changes) -> queue -> one transaction for all that wait -> outcomes

With a window of 0 their outcomes are told once the transaction is committed. Otherwise they are
told once applied, and the transaction stays open for as long as the window before it is committed.
Reads run here too, after it: so they see all that was acknowledged and nothing that may be undone.

A transaction that met a damaged page cannot be committed any more, not even what came before. It
is abandoned, and what was applied in it is applied again in another.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import monotonic, sleep
from typing import Any, Literal, NamedTuple

from service.store.sqlite_ledger import Ledger
from service.store.sqlite_reads import View
from service.store.sqlite_wal import LogKeeper
from service.store.store import Change, Damaged, Outcome, StoreUnavailable

log = logging.getLogger("ntm.store")
GAP_S = 0.001  # between two long transactions, for `ntm store compact` to write in
MERGED = 256  # calls in one transaction, at most, that has no window
APPLIED = 8192  # changes in one transaction, after which it is committed before its time
HERE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH)

Work = Callable[[View], Any]
Kind = Literal["commit", "write", "read", "stop"]


class Job(NamedTuple):
    """Changes to commit, or a function to call, in the transaction where it writes."""

    kind: Kind
    changes: Sequence[Change]
    work: Work | None
    future: asyncio.Future[Any]


def is_here(error: BaseException) -> bool:
    """Is it about what is stored here, and not about the whole file or disk?"""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in HERE


class Writer:
    """Owns the connection and its thread."""

    def __init__(
        self, db: sqlite3.Connection, ledger: Ledger, log_keeper: LogKeeper, window_s: float
    ) -> None:
        self._db, self._ledger, self._log, self._window_s = db, ledger, log_keeper, window_s
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._applied: list[Change] = []  # and not committed
        self._until = 0.0  # when they are to be
        self._thread = threading.Thread(target=self._run, name="ntm-store-writer", daemon=True)
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def submit(
        self, kind: Kind, changes: Sequence[Change] = (), work: Work | None = None
    ) -> asyncio.Future[Any]:
        """Do it as soon as what came before is done. Fails with StoreUnavailable."""
        future = self._loop.create_future()
        self._jobs.put(Job(kind, changes, work, future))
        return future

    async def stop(self) -> None:
        """Commit everything and end the thread."""
        try:
            await self.submit("stop")
        finally:
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        stopping = False
        while not stopping:
            jobs = self._taken()
            stopping = any(job.kind == "stop" for job in jobs)
            writes = [job for job in jobs if job.kind != "read"]
            try:
                self._write(writes, stopping)
            except Exception as error:
                self._failed(writes, error)
            self._tell([(job, self._called(job)) for job in jobs if job.kind == "read"])

    def _taken(self) -> list[Job]:
        """The jobs that wait; at least one, unless it is time to commit."""
        jobs: list[Job] = []
        with suppress(Empty):
            if self._db.in_transaction or self._applied:
                jobs.append(self._jobs.get(timeout=max(0.0, self._until - monotonic())))
            else:
                jobs.append(self._jobs.get())
            while len(jobs) < MERGED:
                jobs.append(self._jobs.get_nowait())
        return jobs

    def _write(self, jobs: list[Job], stopping: bool) -> None:
        if jobs or self._applied:
            self._begin()
        outcomes = iter(self._apply([change for job in jobs for change in job.changes]))
        results: list[tuple[Job, Any]] = []
        for job in jobs:
            told = [next(outcomes) for _ in job.changes]
            results.append((job, told if job.kind == "commit" else self._called(job)))
        if stopping:
            self._ledger.settle()
        if self._window_s:
            self._tell(results)
        full = len(self._applied) >= APPLIED
        due = self._db.in_transaction and (stopping or full or self._until <= monotonic())
        if due:
            self._commit()
        if not self._window_s:
            self._tell(results)
        if due:
            self._between()

    def _begin(self) -> None:
        """Begin a transaction where none is, with what was applied to an abandoned one."""
        if self._db.in_transaction:
            return
        self._until = monotonic() + self._window_s
        self._db.execute("BEGIN IMMEDIATE")
        again, self._applied = self._applied, []
        try:
            self._apply(again)
        except Exception:
            self._applied = again
            raise

    def _apply(self, changes: list[Change]) -> list[Outcome]:
        """All at once; where that fails for some of them, each by itself, so that it costs the
        damaged session's changes alone."""
        try:
            outcomes = self._ledger.apply(changes)
        except Exception as error:
            self._abandon()
            if isinstance(error, sqlite3.Error) and not is_here(error):
                raise
            return [self._alone(change) for change in changes]
        self._applied += changes
        return outcomes

    def _alone(self, change: Change) -> Outcome:
        self._begin()
        try:
            (outcome,) = self._ledger.apply([change])
        except Exception as error:
            self._abandon()
            if isinstance(error, sqlite3.Error) and not is_here(error):
                raise
            log.exception("session %s: a change cannot be stored", change.row.id)
            if isinstance(error, sqlite3.Error):
                self._ledger.condemn(change.row.key, error)
            return Damaged(f"the change cannot be stored: {error}")
        self._applied.append(change)
        return outcome

    def _called(self, job: Job) -> Any:
        try:
            return None if job.work is None else job.work(self._ledger.view)
        except Exception as error:  # told to its caller alone
            if is_here(error) and self._db.in_transaction:
                self._abandon()
                with suppress(sqlite3.Error):  # else the next round does
                    self._begin()
            return error

    def _abandon(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self._ledger.forget()

    def _commit(self) -> None:
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the commit failed: {error}", sent=True) from error
        self._applied.clear()

    def _between(self) -> None:
        """Two transactions."""
        try:
            self._log.committed(self._db, self._ledger.pages)
        except sqlite3.Error:
            log.exception("the log could not be copied into the file; trying again later")
        if self._window_s:
            sleep(GAP_S)

    def _failed(self, jobs: list[Job], error: Exception) -> None:
        """The transaction is abandoned. What was acknowledged stays, to be committed later; of
        the rest nothing is in the file, unless a commit failed half-way."""
        if isinstance(error, sqlite3.Error):
            error = StoreUnavailable(f"the store failed: {error}")
        log.error("%s", error)
        if self._window_s:
            self._until = monotonic() + self._window_s
        else:
            self._applied.clear()
        try:
            self._abandon()
        except sqlite3.Error:
            log.exception("a transaction could not be rolled back")
        self._tell([(job, error) for job in jobs])

    def _tell(self, results: list[tuple[Job, Any]]) -> None:
        if not results:
            return
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(_resolve, results)


def _resolve(results: list[tuple[Job, Any]]) -> None:
    for job, result in results:
        if job.future.done():
            continue
        if isinstance(result, Exception):
            job.future.set_exception(result)
        else:
            job.future.set_result(result)
