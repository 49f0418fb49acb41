"""A log line a request, where NTM_ACCESS_LOG asks for it: of HTTP, WebSockets and gRPC alike.

A route stands there as its template, so no session's id does; no path, query or header is told.
"""

from __future__ import annotations

import logging

import msgspec

log = logging.getLogger("ntm.access")


class Served(msgspec.Struct, frozen=True):
    """A request that was answered. size: bytes of its answers' bodies; code: of its error."""

    request_id: str
    protocol: str  # http, websocket or grpc
    method: str
    route: str
    status: str  # as the protocol has it: 200, OK
    seconds: float
    size: int
    code: str = ""


def tell(served: Served) -> None:
    """Write its line, with every part as a field too."""
    ms = round(served.seconds * 1e3, 3)
    fields = {
        "request_id": served.request_id, "protocol": served.protocol, "method": served.method,
        "route": served.route, "status": served.status, "ms": ms, "bytes": served.size,
    }  # fmt: skip
    if served.code:
        fields["code"] = served.code
    what = f"{served.status} {served.code}".rstrip()
    log.info(
        "%s %s %s, %g ms, %d bytes",
        served.method, served.route, what, ms, served.size, extra=fields,
    )  # fmt: skip
