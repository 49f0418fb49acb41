"""One inference: tensors in, tensors out, as a row of a sequence or from fresh state.

The same for HTTP and gRPC, and the engine's own path underneath: a sequence's rows are steps of
its session, other rows are predictions.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from msgspec.structs import replace

from service import names, urgency
from service.errors import (
    InvalidRequest,
    KeyReused,
    NtmError,
    SequenceEnded,
    SequenceExpired,
    SessionExpired,
    SessionNotFound,
    WrongShape,
)
from service.front_state import FrontState
from service.pending import Receive
from service.requests import Predict, Sequence, Steps
from service.results import PredictResult, StepsResult
from service.v2 import sequence, tensors
from service.v2.metadata import versions_of
from service.v2.tensors import Rows, Tensor

STEPS = msgspec.msgpack.Decoder(StepsResult)
RESULT = msgspec.msgpack.Decoder(PredictResult)
MAX_TIMEOUT_US = 10**12  # a larger number may not be a float any more
AT_ONCE = 64  # members of a batch that wait in the engine at a time, so that others get in between


class InferRequest(msgspec.Struct, frozen=True):
    """outputs: the names asked for; none means all. version: None is the newest."""

    model: str
    version: str | None
    inputs: list[Tensor]
    outputs: list[str] = []
    id: str = ""
    parameters: dict[str, Any] = {}


class InferAnswer(msgspec.Struct, frozen=True):
    """parameters: of a sequence, what was asked and where its session stands now."""

    model: str
    version: str
    id: str
    parameters: dict[str, bool | int | str]
    outputs: list[Tensor]


class Caller(msgspec.Struct, frozen=True):
    """Who asks, by which request, and how to learn that he has gone (ASGI's receive)."""

    tenant: str
    request_id: str
    receive: Receive | None = None


async def infer(front: FrontState, request: InferRequest, caller: Caller) -> InferAnswer:
    """The outputs for a request's inputs. Raises NtmError; then nothing was changed."""
    names.model(request.model)
    names.version(request.version)
    wanted = sequence.sequence_of(request.parameters)
    timeout_s = timeout_of(request.parameters, front.settings.request_timeout_s)
    named, answered = await _names(front, request, caller)
    tensors.check_outputs(request.outputs, answered)
    rows = tensors.rows_of(request.inputs, front.settings.max_rows, named)
    if wanted is None:
        done = await _predict(front, request, rows, caller, timeout_s)
    else:
        done = await _step(front, SequenceStep(request, wanted, rows, timeout_s), caller)
    if answered == tensors.OUTPUT:
        return done
    return replace(done, outputs=[replace(tensor, name=answered) for tensor in done.outputs])


async def _names(front: FrontState, request: InferRequest, caller: Caller) -> tuple[str, str]:
    """What this request calls the input and the output: x and y, or as the manifest has them."""
    if _has_usual_names(request):
        return tensors.INPUT, tensors.OUTPUT
    found = await versions_of(front, request.model, request.version, caller.request_id)
    manifest = found[-1].manifest
    return manifest.input.name, manifest.output.name


def timeout_of(parameters: dict[str, Any], most_s: float) -> float:
    """Seconds the request may take: its `timeout` in microseconds, or the server's if that is
    less. Raises InvalidRequest."""
    value = parameters.get("timeout", 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        expected = "microseconds, an integer of 0 or more"
        raise InvalidRequest(
            f"timeout: expected {expected}, got {value!r}", expected=expected, got=value
        )
    return min(most_s, min(value, MAX_TIMEOUT_US) / 1e6) if value else most_s


class SequenceStep(msgspec.Struct, frozen=True):
    """Rows of a sequence: what the engine is asked, and what its result and its failure become."""

    request: InferRequest
    wanted: sequence.Sequence
    rows: Rows
    timeout_s: float

    def call(self, tenant: str) -> Sequence:
        """What the engine is asked. Raises WrongShape for a batch."""
        request, wanted, rows = self.request, self.wanted, self.rows
        if rows.members != 1:
            raise WrongShape(
                f"{wanted}: expected rows of one sequence, [1, X] or [1, T, X], got a batch of "
                f"{rows.members}"
            )
        session = sequence.session_id(request.model, wanted.id)
        guard = sequence.guard_of(request.id, session, wanted, b"%d %d" % rows.dims, rows.data)
        urgent = urgency.of_parameter(request.parameters)
        steps = Steps(tenant, session, rows.data, rows.dims, False, guard, wanted.end, urgent)
        also = sequence.user_id(wanted.id)
        return Sequence(steps, request.model, request.version, f"{wanted}", also, wanted.start)

    def answer(self, done: StepsResult) -> InferAnswer:
        """The outputs, and where the session stands now."""
        told: dict[str, bool | int | str] = {
            "sequence_id": self.wanted.id, "sequence_start": self.wanted.start,
            "sequence_end": self.wanted.end, "session": done.session, "step": done.step,
            "revision": done.revision, "replayed": done.replayed,
        }  # fmt: skip
        output = tensors.output_of(self.rows, done.dims[1], done.outputs)
        return InferAnswer(self.request.model, done.version, self.request.id, told, [output])

    def failed(self, error: NtmError) -> NtmError:
        """An error about a session or a key, as one about its sequence or the request's id."""
        which = f"{self.wanted} of model {self.request.model!r}"
        if isinstance(error, KeyReused):
            return KeyReused(
                f"id {self.request.id!r} came before in {which}, with other rows or flags: an id "
                "names one request"
            )
        if isinstance(error, SessionExpired):
            return SequenceExpired(f"{which} has expired: sequence_start begins it anew")
        if isinstance(error, SessionNotFound):  # the row was waiting for its turn when it ended
            return SequenceEnded(f"{which} has ended: sequence_start begins it anew")
        return error


def sequence_step(front: FrontState, request: InferRequest) -> SequenceStep | None:
    """The step that a request of a sequence is, where it names its tensors x and y as every model
    knows them; None for any other request. Raises NtmError."""
    wanted = sequence.sequence_of(request.parameters)
    if wanted is None or not _has_usual_names(request):
        return None
    names.model(request.model)
    names.version(request.version)
    timeout_s = timeout_of(request.parameters, front.settings.request_timeout_s)
    rows = tensors.rows_of(request.inputs, front.settings.max_rows, tensors.INPUT)
    return SequenceStep(request, wanted, rows, timeout_s)


def _has_usual_names(request: InferRequest) -> bool:
    given = [tensor.name for tensor in request.inputs]
    return given == [tensors.INPUT] and request.outputs in ([], [tensors.OUTPUT])


async def _step(front: FrontState, step: SequenceStep, caller: Caller) -> InferAnswer:
    try:
        done = await front.link.call(
            STEPS, step.call(caller.tenant), request_id=caller.request_id,
            receive=caller.receive, timeout_s=step.timeout_s,
        )  # fmt: skip
    except (KeyReused, SessionNotFound, SessionExpired) as error:
        raise step.failed(error) from None
    return step.answer(done)


async def _predict(
    front: FrontState, request: InferRequest, rows: Rows, caller: Caller, timeout_s: float
) -> InferAnswer:
    done: list[PredictResult] = []
    try:
        for first in range(0, rows.members, AT_ONCE):
            async with asyncio.TaskGroup() as group:
                asked = [
                    group.create_task(_member(front, request, rows, index, caller, timeout_s))
                    for index in range(first, min(first + AT_ONCE, rows.members))
                ]
            done += [task.result() for task in asked]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    output = tensors.output_of(rows, done[0].dims[1], b"".join(one.outputs for one in done))
    return InferAnswer(request.model, done[0].version, request.id, {}, [output])


async def _member(
    front: FrontState, request: InferRequest, rows: Rows, index: int, caller: Caller,
    timeout_s: float,
) -> PredictResult:  # fmt: skip
    call = Predict(
        caller.tenant, request.model, request.version, rows.member(index), rows.dims,
        urgency.of_parameter(request.parameters),
    )  # fmt: skip
    return await front.link.call(
        RESULT,
        call,
        request_id=caller.request_id,
        receive=None if index % AT_ONCE else caller.receive,  # one watcher is enough for all
        timeout_s=timeout_s,
    )
