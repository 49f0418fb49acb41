"""Around every method: bytes to a message and back, request id, count, and errors as statuses."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from itertools import count
from time import perf_counter
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc import StatusCode

from service.access import REQUEST_ID
from service.errors import Internal, InvalidRequest, NtmError
from service.front_state import FrontState
from service.grpc import calls, convert, status
from service.grpc.calls import Call
from service.grpc.classes import messages
from service.grpc.schema import SERVICE
from service.grpc.stream import Stream
from service.keys import ANYONE

STREAM = "ModelStreamInfer"
ID_HEADER = "x-request-id"

log = logging.getLogger("ntm.front")


class Handlers:
    """The methods of one front, as grpc.aio takes them: bytes in, bytes out."""

    def __init__(self, front: FrontState) -> None:
        self._front = front
        self._prefix = secrets.token_hex(6)
        self._numbers = count(1)

    def generic(self) -> Any:
        """All methods of the service.

        Neither side is given a deserializer: what one of those raises would be answered UNKNOWN.
        """
        methods: dict[str, Any] = {
            name: grpc.unary_unary_rpc_method_handler(self._unary(name)) for name in calls.METHODS
        }
        methods[STREAM] = grpc.stream_stream_rpc_method_handler(self._stream)
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def _unary(self, name: str) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def handle(data: bytes, context: Any) -> bytes:
            request_id = self._id(context)
            await context.send_initial_metadata(((ID_HEADER, request_id),))
            try:
                call = self._call(context, name, request_id)
                return (await self._run(name, call, data)).SerializeToString()
            except NtmError as error:
                return await context.abort(status.status_of(error), status.details_of(error))

        return handle

    async def _stream(self, _: Any, context: Any) -> None:
        request_id = self._id(context)
        await context.send_initial_metadata(((ID_HEADER, request_id),))
        try:
            call = self._call(context, STREAM, request_id)
            await Stream(self._streamed, context, self._front.streams).run(call)
        except NtmError as error:
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
        with self._counted(name):
            if again:
                self._front.gate.again(call.identity)
            try:
                message = messages()[f"{unary}Request"].FromString(data)
            except DecodeError as error:
                raise InvalidRequest(
                    f"the message: expected a {unary}Request, got {len(data)} bytes that are none"
                ) from error
            try:
                return await calls.METHODS[unary][0](call, message)
            except NtmError as error:
                if isinstance(error, Internal):
                    log.error("request %s failed: %s", call.request_id, error)
                raise
            except Exception as error:
                log.exception("request %s failed", call.request_id)
                raise Internal(
                    "the server failed; its log has more under this request id"
                ) from error

    @contextmanager
    def _counted(self, name: str) -> Any:
        begun, code = perf_counter(), StatusCode.CANCELLED
        try:
            yield
            code = StatusCode.OK
        except NtmError as error:
            code = status.status_of(error)
            self._front.metrics.errors.labels(error.code).inc()
            raise
        finally:
            self._front.metrics.answered_grpc(name, code.name, perf_counter() - begun)

    def _id(self, context: Any) -> str:
        given = _metadata(context, ID_HEADER)
        fit = REQUEST_ID.fullmatch(given.encode())
        return given if fit else f"{self._prefix}-{next(self._numbers):x}"

    def _call(self, context: Any, name: str, request_id: str) -> Call:
        """A call of somebody who may make it. Raises Unauthenticated, Forbidden, RateLimited."""
        scope = "step" if name == STREAM else calls.METHODS[name][1]
        identity = ANYONE
        if scope != "open":
            try:
                given = _metadata(context, "authorization")
                identity = self._front.gate.identify(given.encode(), scope)
            except NtmError as error:
                with self._counted(name):
                    raise error
        return Call(self._front, identity, request_id, context.time_remaining())


def _metadata(context: Any, name: str) -> str:
    found = dict(context.invocation_metadata() or ()).get(name, "")
    return found if isinstance(found, str) else ""
