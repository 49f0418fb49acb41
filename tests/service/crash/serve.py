"""`ntm serve` with the crashing engine: python -m tests.service.crash.serve."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from msgspec.structs import replace

from service import logs, supervisor
from service.settings import Settings


def main() -> int:
    """Serve until SIGTERM."""
    settings = Settings.from_env(os.environ)
    logs.configure(replace(settings, log_level="warning"))
    # What dies so often on purpose is not kept waiting.
    supervisor.RESTART_MAX_S = supervisor.RESTART_MIN_S
    with (
        supervisor.bind(settings.host, settings.port) as listener,
        tempfile.TemporaryDirectory() as folder,
    ):
        engine = "tests.service.crash.engine"
        running = supervisor.Supervisor(settings, listener, Path(folder), engine)
        return asyncio.run(running.run())


if __name__ == "__main__":
    sys.exit(main())
