"""A whole sequence from fresh state, without a session."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, post
from litestar.response.base import ASGIResponse

from service import gate, names, openapi, rows, urgency, wire
from service.front_state import answer_in, front_of, request_id, tenant_of
from service.requests import Predict
from service.results import PredictResult
from service.routes.paths import model_name
from service.schemas import PredictAnswer, PredictBody

BODY = wire.Reader(PredictBody)
RESULT = msgspec.msgpack.Decoder(PredictResult)


@post(
    "/v1/models/{model:str}/predict",
    opt=gate.STEP,
    status_code=200,
    operation_class=openapi.operation(
        "models", PredictAnswer, takes=PredictBody, reads=(openapi.PRIORITY,)
    ),
)
async def predict(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Run rows from the model's initial state, and forget the state."""
    front, model = front_of(request), model_name(request)
    head = dict(request.scope["headers"])
    wanted = await BODY.read(head, request.receive, front.settings)
    packed, dims = rows.pack(wanted.inputs, front.settings.max_rows)
    done = await front.link.call(
        RESULT,
        Predict(
            tenant_of(request),
            model,
            names.version(wanted.version),
            packed,
            dims,
            urgency.of(head),
        ),  # fmt: skip
        request_id=request_id(request),
        receive=request.receive,
    )
    form = wire.form_of(head)
    return answer_in(form, PredictAnswer(form.rows(done.outputs, done.dims)))
