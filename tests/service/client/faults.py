"""What goes wrong between a client and a server: answers lost, refused, cut off in the middle."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import httpx

LIMIT_S = 30
DROP, LOSE = "drop", "lose"  # hang up before the server has it; after, in place of its answer


class Answer(NamedTuple):
    """An answer of the proxy's own. forward: the server gets the request all the same."""

    status: int
    headers: dict[str, str] = {}
    body: bytes = b""
    forward: bool = False


class Seen(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Proxy:
    """Passes requests on, but for those that a fault was planned for: one fault a request."""

    def __init__(self, server_url: str) -> None:
        self.seen: list[Seen] = []
        self._faults: deque[str | Answer] = deque()
        proxy, http = self, httpx.Client(base_url=server_url, timeout=LIMIT_S)
        self._http = http

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                proxy._answer(self, body, http)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def plan(self, *faults: str | Answer) -> None:
        """What the next requests meet, each one of these."""
        self._faults.extend(faults)

    @property
    def left(self) -> int:
        """Faults that nobody has met yet."""
        return len(self._faults)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(LIMIT_S)
        self._http.close()

    def _answer(self, handler: BaseHTTPRequestHandler, body: bytes, http: httpx.Client) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        seen = Seen(handler.command, handler.path, headers, body)
        self.seen.append(seen)
        fault = self._faults.popleft() if self._faults else None
        answer = None
        if fault is None or fault == LOSE or (isinstance(fault, Answer) and fault.forward):
            hop = ("host", "connection", "content-length", "accept-encoding")
            kept = {name: value for name, value in headers.items() if name not in hop}
            answer = http.request(seen.method, seen.path, content=body, headers=kept)
        if fault in (DROP, LOSE):
            handler.close_connection = True
            return
        if isinstance(fault, Answer):
            self._say(handler, fault.status, fault.headers, fault.body)
        elif answer is not None:
            self._say(handler, answer.status_code, dict(answer.headers), answer.content)

    def _say(
        self, handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes
    ) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            if name not in ("content-length", "connection", "date", "server"):
                handler.send_header(name, value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


@contextmanager
def proxied(server_url: str) -> Iterator[Proxy]:
    """A proxy before a server."""
    proxy = Proxy(server_url)
    try:
        yield proxy
    finally:
        proxy.close()


class Relay:
    """Passes bytes on, and cuts its connections when told: for what goes on for long."""

    def __init__(self, server_url: str) -> None:
        url = httpx.URL(server_url)
        self._to = (url.host, url.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self._cut_after: int | None = None  # bytes from the server, of the next connection
        self._open: list[socket.socket] = []
        self._closed = False
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def cut(self) -> None:
        """Cut every connection now."""
        for sock in self._open:
            _shut(sock)
        self._open.clear()

    def cut_after(self, count: int) -> None:
        """Cut the next connection when that many bytes have come from the server."""
        self._cut_after = count

    def close(self) -> None:
        """Cut everything and stop listening."""
        self._closed = True
        _shut(self._listener)
        self._listener.close()
        self.cut()
        self._thread.join(LIMIT_S)

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._to)
            self.connections += 1
            self._open += [near, far]
            limit, self._cut_after = self._cut_after, None
            for pair in ((near, far, None), (far, near, limit)):
                threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        left = limit
        try:
            while data := source.recv(65536):
                if left is not None and len(data) >= left:
                    target.sendall(data[:left])
                    break
                target.sendall(data)
                left = None if left is None else left - len(data)
        except OSError:
            pass
        for sock in (source, target):
            _shut(sock)
            sock.close()


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


@contextmanager
def relayed(server_url: str) -> Iterator[Relay]:
    """A relay before a server."""
    relay = Relay(server_url)
    try:
        yield relay
    finally:
        relay.close()
