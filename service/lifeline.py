"""A pipe from the supervisor to its children: when it closes, the supervisor is no more.

The supervisor holds the only write end, so even its SIGKILL ends its children.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping

from service.settings import LIFELINE_FD

LAST_RESORT_S = 5.0


def hold(environ: Mapping[str, str]) -> None:
    """End this process when the pipe of NTM_LIFELINE_FD closes. Without one, do nothing."""
    descriptor = environ.get(LIFELINE_FD)
    if descriptor is not None:
        watcher = threading.Thread(
            target=_watch, args=(int(descriptor),), name="lifeline", daemon=True
        )
        watcher.start()


def _watch(descriptor: int) -> None:
    while os.read(descriptor, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(LAST_RESORT_S)
    os._exit(1)
