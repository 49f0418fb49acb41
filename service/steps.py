"""A step over HTTP: what its body asks of the engine, and how the result is answered."""

from __future__ import annotations

import msgspec

from service import guards, rows, urgency, wire
from service.body import Head
from service.front_state import Answer, FrontState, answer_in
from service.requests import Steps
from service.results import StepsResult
from service.schemas import StepsAnswer, StepsBody

PATH = "/v1/sessions/{session_id:str}/steps"
BODY = wire.Reader(StepsBody)
RESULT = msgspec.msgpack.Decoder(StepsResult)


def call(front: FrontState, tenant: str, session: str, head: Head, wanted: StepsBody) -> Steps:
    """What the engine is asked. Raises NtmError for rows or headers that cannot be."""
    packed, dims = rows.pack(wanted.inputs, front.settings.max_rows)
    guard = guards.NONE
    if guards.are_in(head):
        said = b"%d %d %d" % (*dims, wanted.trace)
        guard = guards.of(head, b"POST", f"/v1/sessions/{session}/steps".encode(), said, packed)
    return Steps(tenant, session, packed, dims, wanted.trace, guard, urgency=urgency.of(head))


def answer(head: Head, done: StepsResult) -> Answer:
    """The answer, in the form that the request's headers ask for."""
    form = wire.form_of(head)
    trace = None if done.trace is None else [form.view(tensor) for tensor in done.trace]
    headers = {"etag": guards.etag(done.incarnation, done.revision)}
    if done.replayed:
        headers["idempotency-replayed"] = "true"
    outputs = form.rows(done.outputs, done.dims)
    return answer_in(form, StepsAnswer(outputs, done.step, done.revision, trace), headers=headers)
