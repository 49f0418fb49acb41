"""A collector of OpenTelemetry's spans: takes them over OTLP and keeps them for a test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from tests.service.serving import until

UNSET, OK, ERROR = 0, 1, 2
INTERNAL, SERVER = 1, 2
REQUEST: Any = vars(trace_service_pb2)["ExportTraceServiceRequest"]


class Seen(NamedTuple):
    """One span. process: which of the server's made it; links: ids of spans; times in ns."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    process: str
    about: dict[str, Any]
    links: list[str]
    status: int
    begin: int
    end: int


class Collector:
    """What came so far. raw: the bytes of all requests, as they came."""

    def __init__(self, url: str) -> None:
        self.url, self.raw, self.spans = url, b"", list[Seen]()
        self._lock = threading.Lock()

    def take(self, data: bytes) -> None:
        """One export."""
        found = REQUEST.FromString(data)
        with self._lock:
            self.raw += data
            for resource in found.resource_spans:
                process = _values(resource.resource.attributes)["ntm.process"]
                for scope in resource.scope_spans:
                    self.spans += [_seen(span, process) for span in scope.spans]

    def of(self, trace: str) -> list[Seen]:
        """The spans of a trace."""
        with self._lock:
            return [span for span in self.spans if span.trace == trace]

    def named(self, name: str, trace: str | None = None) -> list[Seen]:
        """The spans of a name."""
        with self._lock:
            return [s for s in self.spans if s.name == name and trace in (None, s.trace)]

    def whole(self, trace: str, *names: str) -> dict[str, Seen]:
        """A trace by its spans' names, once it has all of these."""
        until(lambda: set(names) <= {span.name for span in self.of(trace)})
        return {span.name: span for span in self.of(trace)}


def _seen(span: Any, process: str) -> Seen:
    return Seen(
        span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), span.kind,
        process, _values(span.attributes), [link.span_id.hex() for link in span.links],
        span.status.code, span.start_time_unix_nano, span.end_time_unix_nano,
    )  # fmt: skip


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port. It is gone at the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            collector.take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield collector
        finally:
            server.shutdown()
