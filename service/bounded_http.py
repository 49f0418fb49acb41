"""uvicorn's HTTP/1.1 with bounds on a request's head, which no app ever sees before it is whole."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service import hot
from service.errors import HeadTooLarge, InvalidRequest, NtmError
from service.refusal import refusal
from service.stall import Stall

# And at most one read of the socket more. As much may come of a body's framing, which is chunk
# extensions and trailers, between two parts of the body.
MAX_HEAD_BYTES = 64 * 1024
HEAD_S = 30.0  # for the first request's head, and for one that comes in parts
# What is left of a body after its request was answered (too large, say) is taken and dropped, up
# to these: a client that reads only when it has sent all would see a reset, and not the answer.
MAX_REST_BYTES = 64 * 1024 * 1024
REST_S = 10.0
# Clients send head and body one after the other. What takes longer, or is more, is the app's.
HOT_S = 0.1
MAX_HOT_BYTES = 64 * 1024


class BoundedHttp(HttpToolsProtocol):
    """Hangs up on a head that is too long or too slow, on one who reads nothing of an answer, and
    on one who sends on and on after it.

    What is no HTTP gets problem details; what is a plain step goes to hot.py instead of the app.
    """

    parser: Any  # None once the connection is gone
    _head_open = _body_open = _body_came = False
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    _rest_bytes = 0
    _rest_timer: asyncio.TimerHandle | None = None
    _stall: Stall | None = None
    _hit: hot.Hit | None = None  # of the request whose head has come, until its body has
    _hit_timer: asyncio.TimerHandle | None = None
    _hot_body: list[bytes]
    _hot_cycle: hot.HotCycle | None = None  # not answered yet, whatever came behind it
    _hot_bytes = 0

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._hot = hot.of(self.app)

    def connection_made(self, transport: Any) -> None:
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_S, self._too_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._head_came()
        self._rest_came()
        self._hit_ended()
        if self._hot_cycle is not None:
            self._hot_cycle.client_gone()
        if self._stall is not None:
            self._stall.end()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        super().pause_writing()
        self._stall = self._stall or Stall()
        self._stall.begin(self.transport)

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        super().resume_writing()
        if self._stall is not None:
            self._stall.end()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._body_came = False
        super().data_received(data)
        if self._hit is not None and self._hit_timer is None:
            self._hit_timer = self.loop.call_later(HOT_S, self._cool)
        if not (self._head_open or self._body_open) or self.transport.is_closing():
            return
        self._head_bytes = 0 if self._body_came else self._head_bytes + len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._too_large("line and headers" if self._head_open else "chunks and trailers")
        elif self._head_open and self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_S, self._too_late)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; or a trailer, which is dropped: it would be taken for a header."""
        if self._head_open:
            HttpToolsProtocol.on_header(self, name, value)  # once a header: super() costs as much

    def on_message_begin(self) -> None:
        """A request's head begins."""
        self._unset_keepalive_if_required()  # armed by an answer within this very read
        super().on_message_begin()
        self._head_open, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        """A request's head is whole."""
        self._head_open, self._head_bytes = False, 0
        self._body_open = self.parser is not None and not self.parser.should_upgrade()
        self._head_came()
        self._hit = self._hot_route()
        if self._hit is None:
            super().on_headers_complete()
        else:
            self._hot_body, self._hot_bytes = [], 0

    def on_body(self, body: bytes) -> None:
        """A part of a request's body."""
        self._body_came = True
        if self._hit is not None:
            self._hot_body.append(body)
            self._hot_bytes += len(body)
            if self._hot_bytes > MAX_HOT_BYTES:
                self._cool()
            return
        super().on_body(body)  # which drops it where the answer is out
        if self._rest_timer is not None:
            self._rest_bytes += len(body)
            if self._rest_bytes > MAX_REST_BYTES:
                self.transport.close()

    def on_message_complete(self) -> None:
        """A request's body is whole."""
        self._body_open = False
        if self._hit is not None:
            hit, body = self._hit, b"".join(self._hot_body)
            if self._hot is not None and self._hot.begin(self, hit, body):
                self._hit_ended()
                cycle: hot.HotCycle = self._last()
                self._hot_cycle = None if cycle.response_complete else cycle
                return
            self._cool()
        super().on_message_complete()
        if self._rest_timer is not None:
            self._rest_came()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _hot_route(self) -> hot.Hit | None:
        """Of the request whose head has come, where nothing is before it and it is a plain one."""
        parser, cycle = self.parser, self._last()
        if self._hot is None or parser is None or parser.get_method() != b"POST":
            return None
        if cycle is not None and not cycle.response_complete:
            return None
        if self.flow.write_paused or not parser.should_keep_alive():
            return None
        if parser.get_http_version() != "1.1":
            return None
        return self._hot.match(self.url, self.headers)

    def _cool(self) -> None:
        """The request whose head has come, and as much of its body as there is, is the app's."""
        parts = self._hot_body
        self._hit_ended()
        super().on_headers_complete()
        for part in parts:
            super().on_body(part)

    def _hit_ended(self) -> None:
        self._hit, self._hot_body = None, []
        if self._hit_timer is not None:
            self._hit_timer.cancel()
            self._hit_timer = None

    def on_response_complete(self) -> None:
        """An answer is out."""
        self._hot_cycle = None
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body:
            self._rest_bytes = 0
            self._rest_timer = self.loop.call_later(REST_S, self.transport.close)

    def handle_websocket_upgrade(self) -> None:
        """A handshake. Behind a request that is not answered it would get that one's answer."""
        cycle = self._last()
        if cycle is None or cycle.response_complete:
            super().handle_websocket_upgrade()
            return
        expected, got = "a handshake on its own", "one behind a request that is not answered"
        self._refuse(InvalidRequest(f"expected {expected}, got {got}", expected=expected, got=got))

    def shutdown(self) -> None:
        """The server stops. A request whose head has come is answered still."""
        if self._hit is not None:
            self._cool()
        super().shutdown()

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

    def _rest_came(self) -> None:
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None

    def _too_late(self) -> None:
        self._head_timer = None
        self.transport.close()

    def _too_large(self, what: str) -> None:
        cycle = self._last()
        if self._hit is None and self._body_open and cycle is not None and cycle.response_complete:
            self.transport.close()
            return
        expected = f"at most {MAX_HEAD_BYTES} bytes"
        self._refuse(
            HeadTooLarge(
                f"the request's {what}: expected {expected}, got more",
                expected=expected,
                got="more",
            )
        )

    def _refuse(self, error: NtmError) -> None:
        self._hit_ended()
        cycle, known = self._last(), ""
        if cycle is not None and not cycle.response_complete:
            if cycle.response_started or not cycle.more_body:
                # It would stand amid the answer to the request before, or be taken for it: the
                # connection ends after that one.
                cycle.keep_alive = False
                self.flow.pause_reading()
                return
            known = cycle.scope["state"].get("request_id", "")  # it is in this one's body
        self.transport.write(refusal(self.app, error, known=known))
        self.transport.close()

    def _last(self) -> Any:
        """The cycle of the last request whose head was whole, or None."""
        return self.cycle
