"""uvicorn's HTTP/1.1 with bounds on a request's head, which no app ever sees before it is whole."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.errors import HeadTooLarge, InvalidRequest, NtmError

MAX_HEAD_BYTES = 64 * 1024  # and at most one read of the socket more
HEAD_S = 30.0  # for the first request's head, and for one that comes in parts


class BoundedHttp(HttpToolsProtocol):
    """Hangs up on a head that is too long or too slow. What is no HTTP gets problem details."""

    _head_open = False
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_S, self._too_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        super().data_received(data)
        if not self._head_open or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            expected = f"at most {MAX_HEAD_BYTES} bytes"
            self._refuse(
                HeadTooLarge(
                    f"the request's line and headers: expected {expected}, got more",
                    expected=expected,
                    got="more",
                )
            )
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_S, self._too_late)

    def on_message_begin(self) -> None:
        """A request's head begins."""
        super().on_message_begin()
        self._head_open, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        """A request's head is whole."""
        self._head_open = False
        self._head_came()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(
            InvalidRequest(
                "expected an HTTP/1.1 request, got what is none",
                expected="an HTTP/1.1 request",
                got="what is none",
            )
        )

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_late(self) -> None:
        self._head_timer = None
        self.transport.close()

    def _refuse(self, error: NtmError) -> None:
        body = error.to_body("")
        self.transport.write(
            STATUS_LINE[error.status]
            + b"content-type: application/problem+json\r\n"
            + b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            + body
        )
        self.transport.close()
