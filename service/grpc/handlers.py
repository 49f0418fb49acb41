"""Around every method: bytes to a message and back, request id, count, and errors as statuses."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from msgspec.structs import replace

from service import request_ids
from service.errors import Internal, InvalidRequest, MethodNotAllowed, NtmError
from service.front_state import FrontState
from service.grpc import calls, convert, status
from service.grpc.calls import Call
from service.grpc.classes import messages
from service.grpc.counted import counted
from service.grpc.schema import SERVICE
from service.grpc.stream import Stream
from service.keys import ANYONE
from service.problems import FAILED

STREAM = "ModelStreamInfer"
ID_HEADER = request_ids.HEADER
TRACED = ("traceparent", "tracestate")
UNKNOWN = "unknown"  # what a method that there is not is counted as

log = logging.getLogger("ntm.front")


class Unknown(grpc.GenericRpcHandler):
    """Has the one handler for whatever is asked for."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def service(self, handler_call_details: Any) -> Any:
        """See `grpc.GenericRpcHandler`."""
        return self._handler


class Handlers:
    """The methods of one front, as grpc.aio takes them: bytes in, bytes out."""

    def __init__(self, front: FrontState) -> None:
        self._front = front

    def generic(self) -> Any:
        """All methods of the service.

        Neither side is given a deserializer: what one of those raises would be answered UNKNOWN.
        """
        methods: dict[str, Any] = {
            name: grpc.unary_unary_rpc_method_handler(self._unary(name)) for name in calls.METHODS
        }
        methods[STREAM] = grpc.stream_stream_rpc_method_handler(self._stream)
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def unknown(self) -> Any:
        """Answers every other method, which gRPC itself would without a code or an id."""
        return Unknown(grpc.stream_stream_rpc_method_handler(self._no_method))

    async def _no_method(self, _: Any, context: Any) -> None:
        call = self._call(context)
        await context.send_initial_metadata(((ID_HEADER, call.request_id),))
        error = MethodNotAllowed(f"expected a method of {SERVICE}, got another")
        try:
            with counted(call, UNKNOWN):
                raise error
        except NtmError:
            await context.abort(status.status_of(error), status.details_of(error))

    def _unary(self, name: str) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def handle(data: bytes, context: Any) -> bytes:
            call = self._call(context)
            await context.send_initial_metadata(((ID_HEADER, call.request_id),))
            try:
                call = self._let_in(call, name, context)
                return (await self._run(name, call, data)).SerializeToString()
            except NtmError as error:
                return await context.abort(status.status_of(error), status.details_of(error))

        return handle

    async def _stream(self, _: Any, context: Any) -> None:
        call = self._call(context)
        await context.send_initial_metadata(((ID_HEADER, call.request_id),))
        try:
            call = self._let_in(call, STREAM, context)
            await Stream(self._streamed, context, self._front.streams).run(call)
        except NtmError as error:
            self._front.metrics.errors.labels(error.code).inc()
            await context.abort(status.status_of(error), status.details_of(error))

    async def _streamed(self, call: Call, data: bytes) -> bytes:
        """One request of a stream. An error is its answer, and the stream goes on."""
        answer = messages()["ModelStreamInferResponse"]()
        try:
            done = await self._run(STREAM, call, data, again=True)
            convert.set_parameter(done.parameters[convert.FINAL], True)
            answer.infer_response.CopyFrom(done)
        except NtmError as error:
            answer.error_message = status.details_of(error)
            answer.infer_response.id = convert.id_of(data)
        return answer.SerializeToString()

    async def _run(self, name: str, call: Call, data: bytes, again: bool = False) -> Any:
        """A request's answer. again: on what stays open. Raises NtmError, nothing else but
        CancelledError."""
        unary = "ModelInfer" if name == STREAM else name
        with counted(call, name) as answer:
            if again:
                self._front.gate.again(call.identity)
            try:
                message = messages()[f"{unary}Request"].FromString(data)
            except DecodeError as error:
                raise InvalidRequest(
                    f"the message: expected a {unary}Request, got {len(data)} bytes that are none"
                ) from error
            try:
                done = await calls.METHODS[unary][0](call, message)
            except NtmError as error:
                if isinstance(error, Internal):
                    log.error("the request failed: %s", error, extra=_about(call))
                raise
            except Exception as error:
                log.exception("the request failed", extra=_about(call))
                raise Internal(FAILED) from error
            answer.size = done.ByteSize()
            return done

    def _call(self, context: Any) -> Call:
        given = dict(context.invocation_metadata() or ())
        fit = given.get(ID_HEADER, "")
        request_id = self._front.ids.fit(fit.encode() if isinstance(fit, str) else fit)
        request_ids.current.set(request_id)  # grpc.aio runs each call in a task of its own
        traced = {name: text for name in TRACED if isinstance(text := given.get(name), str)}
        return Call(self._front, ANYONE, request_id, context.time_remaining(), traced)

    def _let_in(self, call: Call, name: str, context: Any) -> Call:
        """The call, by whom it is. Raises Unauthenticated, Forbidden, RateLimited."""
        scope = "step" if name == STREAM else calls.METHODS[name][1]
        if scope == "open":
            return call
        given = dict(context.invocation_metadata() or ()).get("authorization", "")
        key = given.encode() if isinstance(given, str) else given
        try:
            return replace(call, identity=self._front.gate.identify(key, scope))
        except NtmError:
            with counted(call, name):
                raise


def _about(call: Call) -> dict[str, str]:
    return {"request_id": call.request_id}
