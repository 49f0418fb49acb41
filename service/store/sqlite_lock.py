"""One server a file: whoever holds its lock may open it."""

from __future__ import annotations

import fcntl
import logging
import os
from time import monotonic, sleep

from service.lifeline import LAST_RESORT_S
from service.store.store import StoreUnavailable

log = logging.getLogger("ntm.store")
# An engine outlives a killed supervisor for as long as that, to finish what is under way; and a
# killed one keeps its files until the last of its threads is gone.
HAND_OVER_S = LAST_RESORT_S + 3
POLL_S = 0.02


class FileLock:
    """Held until `release`, or until the process is gone. Waits `wait_s` for another's.

    Raises StoreUnavailable where that one stays.
    """

    def __init__(self, path: str, wait_s: float = 0.0) -> None:
        self._fd = os.open(f"{path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take(path, wait_s)
        except BaseException:
            os.close(self._fd)
            raise

    def release(self) -> None:
        """Let another server have the file."""
        os.close(self._fd)

    def _take(self, path: str, wait_s: float) -> None:
        until, told = monotonic() + wait_s, False
        while not self._taken():
            if monotonic() >= until:
                raise StoreUnavailable(
                    f"{path}: another server has this store open (process {self._holder()}); "
                    "a SQLite file serves one server: give this one another "
                    "(NTM_STORE, or DATA= of make serve)"
                )
            if not told:
                holder = self._holder()
                log.warning("%s: waiting for process %s to let go of the file", path, holder)
                told = True
            sleep(POLL_S)
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _holder(self) -> str:
        return os.pread(self._fd, 32, 0).decode(errors="replace").strip() or "unknown"
