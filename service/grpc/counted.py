"""Around one gRPC request: its count, its line in the access log, its span."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

from grpc import StatusCode

from service import access_log
from service.access_log import Served
from service.errors import NtmError
from service.grpc import status
from service.grpc.calls import Call
from service.grpc.schema import SERVICE

if TYPE_CHECKING:
    from service.spans import Tracer


class Answer:
    """What is known of it in the end. size: its bytes."""

    def __init__(self) -> None:
        self.status, self.code, self.size = StatusCode.CANCELLED, "", 0


@contextmanager
def counted(call: Call, method: str) -> Generator[Answer]:
    """Count what happens within as one request of this method. An NtmError is its answer."""
    begun, answer = perf_counter(), Answer()
    with ExitStack() as stack:
        stack.callback(_tell, call, method, answer, begun)
        if (tracer := call.front.tracer) is not None:
            stack.enter_context(_traced(tracer, call, method, answer))
        try:
            yield answer
            answer.status = StatusCode.OK
        except NtmError as error:
            answer.status, answer.code = status.status_of(error), error.code
            call.front.metrics.errors.labels(error.code).inc()
            raise


def _tell(call: Call, method: str, answer: Answer, begun: float) -> None:
    seconds, name = perf_counter() - begun, answer.status.name
    call.front.metrics.answered_grpc(method, name, seconds)
    if call.front.settings.access_log:
        served = (method, SERVICE, name, seconds, answer.size, answer.code)
        access_log.tell(Served(call.request_id, "grpc", *served))


@contextmanager
def _traced(tracer: Tracer, call: Call, method: str, answer: Answer) -> Generator[None]:
    name = f"{SERVICE}/{method}"
    about = {
        "rpc.system.name": "grpc",
        "rpc.method": name,
        "ntm.request_id": call.request_id,
    }
    with tracer.serving(name, call.traced, about) as span:
        try:
            yield
        except NtmError as error:
            tracer.fail(span, error)
            raise
        finally:
            span.set_attribute("rpc.response.status_code", answer.status.name)
