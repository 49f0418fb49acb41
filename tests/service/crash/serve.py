"""`ntm serve` with the crashing engine: python -m tests.service.crash.serve."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from service import logs
from service.settings import Settings
from service.supervisor import Supervisor, bind


def main() -> int:
    """Serve until SIGTERM."""
    settings = Settings.from_env(os.environ)
    logs.configure("warning")
    with bind(settings.host, settings.port) as listener, tempfile.TemporaryDirectory() as folder:
        supervisor = Supervisor(settings, listener, Path(folder), "tests.service.crash.engine")
        return asyncio.run(supervisor.run())


if __name__ == "__main__":
    sys.exit(main())
