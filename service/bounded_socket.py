"""uvicorn's WebSocket with bounds on what a client can make it keep.

The size of a message and the pings have settings of uvicorn (service/front.py).
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import (
    HeaderLineTooLong,
    InvalidHandshake,
    InvalidMethod,
    RequestLineTooLong,
    TooManyHeaders,
)
from websockets.frames import Frame
from websockets.http11 import Request

from service.errors import HeadTooLarge, InvalidRequest, MethodNotAllowed, NtmError
from service.refusal import refusal
from service.stall import Stall

MAX_FRAGMENTS = 1024  # of one message


class BoundedSocket(WebSocketsSansIOProtocol):
    """Reads nothing while its answers are not read, and leaves its end to the app.

    What is no handshake gets problem details.
    """

    transport: asyncio.Transport
    _stall: Stall | None = None

    def pause_writing(self) -> None:
        """See asyncio.Protocol. A flood of pings is answered only as far as it is read."""
        super().pause_writing()
        self._stall = self._stall or Stall()
        self._stall.begin(self.transport)
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        super().resume_writing()
        if self._stall is not None:
            self._stall.end()
        if not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._stall is not None:
            self._stall.end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        super().data_received(data)
        if not self.handshake_initiated and self.conn.handshake_exc is not None:
            self._refuse(_as_known(self.conn.handshake_exc))

    def handle_connect(self, event: Request) -> None:
        """A handshake has come."""
        try:
            self.conn.process_request(event)
        except InvalidHandshake as error:
            self.handshake_initiated = True
            self._refuse(_as_known(error))
        else:
            super().handle_connect(event)

    def handle_cont(self, event: Frame) -> None:
        """One more fragment of a message, which may be empty and so has no size."""
        if len(self.frames) >= MAX_FRAGMENTS:
            self.conn.fail(1009, f"more than {MAX_FRAGMENTS} fragments")
            self.handle_parser_exception()
            return
        super().handle_cont(event)

    async def send(self, message: Any) -> None:
        """See ASGI."""
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # a refusal is a whole answer, and no error to log

    def shutdown(self) -> None:
        """The server stops. The app is told by itself, finishes what it has read, and closes."""
        if not self.handshake_complete or self.close_sent:
            super().shutdown()

    def _refuse(self, error: NtmError) -> None:
        self.handshake_complete = self.close_sent = True
        self.transport.write(refusal(self.app, error, "websocket"))
        self.transport.close()


def _as_known(error: Exception) -> NtmError:
    """What websockets says of a handshake, as one of our errors."""
    said = f"the WebSocket handshake: {error}"
    if isinstance(error, InvalidMethod):
        return MethodNotAllowed(f"{said}: expected GET", headers={"allow": "GET"}, expected="GET")
    if isinstance(error, RequestLineTooLong | HeaderLineTooLong | TooManyHeaders):
        return HeadTooLarge(said)  # service/bounded_http.py lets it pass, websockets does not
    return InvalidRequest(said)
