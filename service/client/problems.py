"""Problem details (RFC 9457) and what proxies send in their place, as errors."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from service.client.errors import ApiError, Problem, api_error

SHOWN = 200  # characters of a body that is no problem details
MAX_WAIT_S = 86_400.0


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """The error of an answer with a status that is none of success."""
    wait_s = retry_after(headers.get("retry-after", ""))
    request_id = headers.get("x-request-id", "")
    return api_error(problem_of(status, body, request_id), wait_s)


def problem_of(status: int, body: bytes, request_id: str = "") -> Problem:
    """What the body says, as far as it says it in the form of problem details."""
    try:
        said: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = None
    if not isinstance(said, dict):
        text = " ".join(body.decode("utf-8", "replace").split())[:SHOWN]
        return Problem(status, f"HTTP {status}" + (f": {text}" if text else ""), "", request_id)
    return from_members(said, status, request_id)


def from_members(said: Mapping[str, Any], status: int, request_id: str = "") -> Problem:
    """Problem details from their members; what has another type than it must is left out."""

    def text(name: str) -> str:
        value = said.get(name)
        return value if isinstance(value, str) else ""

    return Problem(
        status,
        text("detail") or text("title") or f"HTTP {status}",
        text("code"),
        text("request_id") or request_id,
        said.get("expected"),
        said.get("got"),
        text("where") or None,
    )


def retry_after(value: str) -> float:
    """Seconds that a Retry-After asks to wait, given as seconds or as a date; 0 for none."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError):
            return 0.0
    return min(max(seconds, 0.0), MAX_WAIT_S) if seconds == seconds else 0.0
