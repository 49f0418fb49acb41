"""The spans of one process, sent over OTLP: imported where NTM_TRACES is 1, and nowhere else.

    front   one a request, a child of the client's where it sends `traceparent`
    engine  queue, step, commit of each request; batch, one a tick: service/engine/phases.py

No attribute tells what a client sent: neither rows, states, paths, queries nor headers. What the
exporter reads from the environment (OTEL_EXPORTER_OTLP_..., OTEL_TRACES_SAMPLER, ...) is its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.errors import NtmError
from service.metrics import package_version

FLUSH_S = 2.0  # for the last spans, as a process ends: a collector that is away holds up no stop
PARENT, STATE = "traceparent", "tracestate"  # W3C's headers
NAME = "ntm-serve"
SERVER_ERROR = 500
Attributes = Mapping[str, Any]


class Tracer:
    """Begins the spans of this process and sends them from a thread of its own.

    process: which of the server's it is, as every span's resource tells.
    """

    def __init__(self, process: str) -> None:
        self._provider = TracerProvider(resource=_resource(process), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer(NAME, package_version())
        self._carrier = TraceContextTextMapPropagator()

    @contextmanager
    def request(self, scope: Any) -> Generator[Span]:
        """The span of an ASGI request, current within; `answered` ends what it tells."""
        headers = {
            name.decode(): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in (b"traceparent", b"tracestate")
        }
        method = scope.get("method", "GET")
        about = {
            "http.request.method": method,
            "url.scheme": scope.get("scheme", "http"),
            "ntm.request_id": scope["state"]["request_id"],
        }
        with self.serving(method, headers, about) as span:
            yield span

    def answered(self, span: Span, scope: Any, status: int) -> None:
        """What a request's span tells once it is answered."""
        route, method = scope.get("path_template"), scope.get("method", "GET")
        if route:
            span.update_name(f"{method} {route}")
            span.set_attribute("http.route", route)
        span.set_attribute("http.response.status_code", status)
        fail(span, status, scope["state"].get("code", ""))

    @contextmanager
    def serving(self, name: str, headers: Mapping[str, str], about: Attributes) -> Generator[Span]:
        """A span of a request from outside, current within, in the trace that its headers name
        or else in the current one."""
        parent = self._carrier.extract(headers) if PARENT in headers else None
        with self._tracer.start_as_current_span(
            name, parent, SpanKind.SERVER, about,
            record_exception=False, set_status_on_exception=False,  # what it says may be payload
        ) as span:  # fmt: skip
            yield span

    def current(self) -> str:
        """The traceparent of the current span, for the engine; empty where there is none."""
        headers: dict[str, str] = {}
        self._carrier.inject(headers)
        return headers.get(PARENT, "")

    def parent(self, traceparent: str) -> Context | None:
        """Where that span is, for `begin`; None where it is none or is not sampled."""
        found = self._carrier.extract({PARENT: traceparent}, Context())
        span = trace.get_current_span(found).get_span_context()
        return found if span.is_valid and span.trace_flags.sampled else None

    def fail(self, span: Span, error: NtmError) -> None:
        """See `fail`."""
        fail(span, error.status, error.code)

    def begin(self, name: str, parent: Context, about: Attributes) -> Span:
        """A span that its owner ends."""
        return self._tracer.start_span(name, parent, attributes=about)

    def close(self) -> None:
        """Send what is left, as far as that takes FLUSH_S."""
        closing = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        closing.start()
        closing.join(FLUSH_S)


def fail(span: Span, status: int, code: str) -> None:
    """Tell the code of an error. As OpenTelemetry has it, only the server's own are failures."""
    if code:
        span.set_attribute("ntm.code", code)
    if status >= SERVER_ERROR:
        span.set_attribute("error.type", code or str(status))
        span.set_status(Status(StatusCode.ERROR, code))


def link(span: Span, other: Span) -> None:
    """Let a span name another one."""
    span.add_link(other.get_span_context())


def _resource(process: str) -> Resource:
    found = Resource.create({"ntm.process": process, "process.pid": os.getpid()})
    if str(found.attributes[SERVICE_NAME]).startswith("unknown_service"):
        found = found.merge(Resource({SERVICE_NAME: NAME, "service.version": package_version()}))
    return found
