"""Keeps the write-ahead log short without making a commit wait for it.

A thread copies the log into the file while the writer goes on; what was written meanwhile is
little, and the writer copies that itself between two commits, after which the log starts anew.
The log's file is grown in advance, because a disk syncs what it overwrites many times faster than
what makes a file longer.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from queue import SimpleQueue

log = logging.getLogger("ntm.store")
COPIED_AT = 4096  # pages of 4 KiB in the log
LITTLE = 256  # pages that the writer may copy
TOO_FAR_BEHIND = 8  # times as many, and the writer waits until they are copied
ROUNDS = 8
LOG_BYTES = 32 << 20
CHUNK = 1 << 20


class LogKeeper:
    """One thread and its connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db, self._copied = db, 0
        self._asked = self._little = False
        self._calls: SimpleQueue[bool] = SimpleQueue()  # False: stop
        self._thread = threading.Thread(target=self._run, name="ntm-store-log", daemon=True)
        self._thread.start()

    def committed(self, db: sqlite3.Connection, pages: int) -> None:
        """The writer's connection `db` is between two transactions; `pages` written in all."""
        if self._little or pages - self._copied >= TOO_FAR_BEHIND * COPIED_AT:
            (busy, _, _) = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if not busy:  # else the thread is copying
                self._little = self._asked = False
                self._copied = pages
        elif pages - self._copied >= COPIED_AT and not self._asked:
            self._asked = True
            self._calls.put(True)

    def stop(self) -> None:
        """End the thread."""
        self._calls.put(False)
        self._thread.join()

    def _run(self) -> None:
        while self._calls.get():
            try:
                self._copy()
            except sqlite3.Error:
                log.exception("the log could not be copied into the file; trying again later")
            self._little = True
        self._db.close()

    def _copy(self) -> None:
        for _ in range(ROUNDS):
            _, written, copied = self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if written - copied <= LITTLE:
                return


def grow_log(db: sqlite3.Connection, path: str, size: int = LOG_BYTES) -> None:
    """Make the log's file at least `size` bytes long. What is past its end reads as no log."""
    db.execute("BEGIN IMMEDIATE")  # nobody else may lengthen it now
    try:
        log_file = os.open(f"{path}-wal", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            end = os.fstat(log_file).st_size
            while end < size:
                end += os.pwrite(log_file, bytes(min(CHUNK, size - end)), end)
            os.fsync(log_file)
        finally:
            os.close(log_file)
    finally:
        db.execute("ROLLBACK")
