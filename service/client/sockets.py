"""What both shells know of the websockets library, which is imported when a stream is opened."""

from __future__ import annotations

import ssl
from typing import Any

from service.client.exchange import Call, Lost, Reply
from service.client.pipeline import Pipeline

OPEN_S = 10.0


def options(call: Call, tls: ssl.SSLContext, timeout_s: float) -> dict[str, Any]:
    """How a socket is opened. Answers are read as they come: the window bounds them."""
    secure = call.path.startswith("wss:")
    return {
        "additional_headers": call.headers,
        "ssl": tls if secure else None,
        "compression": None,
        "max_size": None,
        "max_queue": None,
        "open_timeout": min(timeout_s, OPEN_S),
        "close_timeout": 1.0,
        "user_agent_header": "ntm-client",
    }


def failures() -> tuple[type[Exception], ...]:
    """What opening, sending and receiving raise where the connection is at fault."""
    from websockets.exceptions import WebSocketException

    return (WebSocketException, OSError, EOFError, TimeoutError)


def seen(error: Exception, pipeline: Pipeline) -> Reply | Lost:
    """A failure as what is known. Raises NtmClientError where the stream has ended for good."""
    from websockets.exceptions import ConnectionClosed, InvalidStatus

    if isinstance(error, InvalidStatus):
        response = error.response
        headers = {name.lower(): value for name, value in response.headers.raw_items()}
        return Reply(response.status_code, headers, bytes(response.body or b""))
    if isinstance(error, ConnectionClosed):
        close = error.rcvd
        return Lost(str(error)) if close is None else pipeline.closed(close.code, close.reason)
    hopeless = isinstance(error, ssl.SSLCertVerificationError)
    timed_out = isinstance(error, TimeoutError)
    return Lost(str(error) or "timed out", timed_out=timed_out, hopeless=hopeless)
