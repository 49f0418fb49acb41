"""Log lines of every process, on standard error: one line a record, as text or as JSON.

No line tells what a client sent: neither rows, states, headers, queries nor paths. A record that
is about one request carries its id, which the filter here takes from service/request_ids.py.
"""

from __future__ import annotations

import logging
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from service import request_ids
from service.settings import Settings

FORMAT = "%(asctime)s %(levelname)-7s %(process)d %(name)s%(about)s: %(message)s"
OURS = "ntm"  # above every logger of this project
SAID_ELSEWHERE = "Invalid HTTP request received."  # uvicorn's; service/refusal.py has its id
FIELDS = {"levelname": "level", "name": "logger", "process": "pid", "exc_info": "exception"}
# What a terminal or a reader of lines could take for more than text: C0 but for the tab, DEL, C1,
# and Unicode's own ends of lines.
CONTROLS = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code != ord("\t")
} | {code: f"\\u{code:04x}" for code in (0x2028, 0x2029)}


class WithRequest(logging.Filter):
    """Gives each record the id of the request that it is about, and lets it pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter`."""
        if not getattr(record, "request_id", ""):
            if name := request_ids.current.get():
                record.request_id = name
        return record.msg != SAID_ELSEWHERE


class Text(logging.Formatter):
    """A line for people. What follows it, of an exception, is indented: no line can be forged."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        name = getattr(record, "request_id", "")
        record.about = f" [{name}]" if name else ""
        return super().formatMessage(record).translate(CONTROLS)

    def formatException(self, ei: Any) -> str:
        """See `logging.Formatter`."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        """See `logging.Formatter`."""
        return _indented(super().formatStack(stack_info))


def _indented(text: str) -> str:
    return "\n".join("    " + line.translate(CONTROLS) for line in text.split("\n"))


def _json() -> logging.Formatter:
    """One JSON document a line, in ASCII, so that a lone surrogate is no error either."""
    return JsonFormatter(
        ["levelname", "name", "process", "message"],
        rename_fields=FIELDS,
        timestamp="time",
        reserved_attrs=[*RESERVED_ATTRS, "taskName", "color_message"],
    )


def configure(settings: Settings) -> None:
    """Log from NTM_LOG_LEVEL on, as NTM_LOG_FORMAT says: the same for all of our processes."""
    handler = logging.StreamHandler()
    handler.setFormatter(_json() if settings.log_format == "json" else Text(FORMAT))
    handler.addFilter(WithRequest())
    level = getattr(logging, settings.log_level.upper())
    # Others' debug lines may tell what they handle, so only ours go below info.
    logging.basicConfig(handlers=[handler], level=max(level, logging.INFO), force=True)
    logging.getLogger(OURS).setLevel(level)
    # uvicorn tells of every start and stop of its own; the supervisor says it once for all. And
    # of each WebSocket, with its query.
    logging.getLogger("uvicorn").setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)
