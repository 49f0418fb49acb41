"""Log lines of every process, on standard error."""

from __future__ import annotations

import logging

FORMAT = "%(asctime)s %(levelname)-7s %(process)d %(name)s: %(message)s"


def configure(level: str) -> None:
    """Log from `level` on, in one format for all of our processes."""
    logging.basicConfig(format=FORMAT, level=level.upper(), force=True)
    # uvicorn tells of every start and stop of its own; the supervisor says it once for all.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.getLogger().level))
