"""A whole sequence from fresh state, without a session."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, post
from litestar.response.base import ASGIResponse

from service import body, openapi, rows
from service.front_state import TENANT, front_of, json_answer, request_id
from service.messages import Predict, PredictResult
from service.routes.paths import model_name
from service.schemas import PredictAnswer, PredictBody

BODY = msgspec.json.Decoder(PredictBody)
RESULT = msgspec.msgpack.Decoder(PredictResult)


@post(
    "/v1/models/{model:str}/predict",
    status_code=200,
    operation_class=openapi.takes(body=PredictBody),
    responses=openapi.answers(PredictAnswer, 400, 404, 413, 415, 429, 503, 504),
)
async def predict(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Run rows from the model's initial state, and forget the state."""
    front, model = front_of(request), model_name(request)
    limits = front.settings
    head = dict(request.scope["headers"])
    data = await body.read(head, request.receive, limits.max_body_bytes, limits.request_timeout_s)
    wanted = body.decode(BODY, data)
    packed, dims = rows.pack(wanted.inputs, limits.max_rows)
    done = await front.link.call(
        RESULT,
        Predict(TENANT, model, wanted.version, packed, dims),
        request_id=request_id(request),
        receive=request.receive,
    )
    return json_answer(PredictAnswer(rows.unpack(done.outputs, done.dims)))
