"""What is answered below the app, which never sees it: to what is no HTTP request, or has too long
a head, or is no WebSocket handshake."""

from __future__ import annotations

import logging
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service import access_log
from service.access_log import Served
from service.errors import NtmError
from service.front_state import KEY, FrontState
from service.metrics import UNMATCHED
from service.openapi import PROBLEM_TYPE

NO_METHOD = "-"  # nobody knows what was meant

log = logging.getLogger("ntm.front")


def refusal(app: Any, error: NtmError, protocol: str = "http", known: str = "") -> bytes:
    """The whole answer: problem details with a request id. It is counted and logged.

    app: Litestar's, which service/app.py made.
    known: the id of a request that the app does see, and counts itself: its body is malformed.
    """
    front: FrontState = app.state[KEY]
    request_id = known or front.ids.drawn()
    body = error.to_body(request_id)
    headers = error.headers | {
        "content-type": PROBLEM_TYPE,
        "content-length": str(len(body)),
        "connection": "close",
        "x-request-id": request_id,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    log.info(
        "refused before any route: %d %s", error.status, error.code,
        extra={"request_id": request_id},
    )  # fmt: skip
    if not known:
        front.metrics.errors.labels(error.code).inc()
        front.metrics.answered(NO_METHOD, UNMATCHED, error.status, 0.0)
        if front.settings.access_log:
            status, size = str(error.status), len(body)
            served = (request_id, protocol, NO_METHOD, UNMATCHED, status, 0.0, size, error.code)
            access_log.tell(Served(*served))
    return STATUS_LINE[error.status] + head.encode("latin-1") + b"\r\n" + body
