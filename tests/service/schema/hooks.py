"""What schemathesis is told beside the document: media types, and live sessions to name.

`st` loads this module. SCHEMA_NARROW has "model" and "session" where the document is to be
narrowed to them; SCHEMA_TALLY names a file that gets a line for each answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from typing import Any

import httpx
import msgspec
import safetensors.numpy
import schemathesis
from schemathesis.specs.openapi import stateful
from schemathesis.transport.serialization import Binary, serialize_binary

from tests.service.schema.narrowing import (
    KEPT,
    LIVE,
    MODEL,
    narrow_to_model,
    narrow_to_session,
)

URL, TALLY = os.environ["SCHEMA_URL"], os.environ["SCHEMA_TALLY"]
NARROW = os.environ["SCHEMA_NARROW"].split()
LINKED = NARROW == ["model"]  # the run along the links
MSGPACK, SAFETENSORS = "application/msgpack", "application/vnd.safetensors"
FORMS = ("application/json", MSGPACK, f"{MSGPACK};q=0.5, application/json")
WHOLE, NUMBERED = ("step", "revision"), ("inputs", "state")
MAX_SMALL, MAX_FLOAT32 = 1.0, 3.4028235e38
RUN, NUMBERS = os.getpid(), count()

server = httpx.Client(base_url=URL, timeout=30)


def _begins(operation: Any, *_: Any) -> bool:
    """May a walk begin here? Schemathesis begins at any POST, and then few sessions live."""
    return "{session_id}" not in operation.path


assert hasattr(stateful, "is_likely_root_transition")
stateful.is_likely_root_transition = _begins


def _plain(value: Any) -> Any:
    return value.data if isinstance(value, Binary) else value


@schemathesis.serializer(MSGPACK)
def to_msgpack(context: Any, value: Any) -> bytes:
    """A body as MessagePack; one that it cannot hold as what is none."""
    try:
        return msgspec.msgpack.encode(_walked(value, _plain))
    except (OverflowError, UnicodeEncodeError):
        return b"\xc1"  # the one byte that MessagePack never has


@schemathesis.serializer(SAFETENSORS)
def to_safetensors(context: Any, value: Any) -> bytes:
    """A body of bytes as it is; where the document is narrowed, a state that the model has."""
    if "model" in NARROW:
        if server.get(f"/v1/sessions/{LIVE}").is_error:  # a walk may have found and ended it
            _begin()
        return server.get(f"/v1/sessions/{LIVE}/state").raise_for_status().content
    return serialize_binary(value)


@schemathesis.deserializer(MSGPACK)
def from_msgpack(context: Any, response: Any) -> Any:
    """An answer in MessagePack, its bytes as the text of which JSON Schema can say something."""

    def text(value: Any) -> Any:
        return value.decode("latin-1") if isinstance(value, bytes) else value

    return _walked(msgspec.msgpack.decode(response.content), text)


@schemathesis.deserializer(SAFETENSORS)
def from_safetensors(context: Any, response: Any) -> str:
    """An answer that must be a safetensors file."""
    assert safetensors.numpy.load(response.content)
    return response.content.decode("latin-1")


def _walked(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {name: _walked(part, change) for name, part in value.items()}
    if isinstance(value, list):
        return [_walked(part, change) for part in value]
    return change(value)


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """Narrow the document."""
    if "model" in NARROW:
        narrow_to_model(raw_schema, server.get(f"/v1/models/{MODEL}").json())
        _begin()
    if "session" in NARROW:
        narrow_to_session(raw_schema)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Ask for each form in turn; where the document is narrowed, of what is there."""
    # Links are followed through JSON only.
    case.headers["Accept"] = FORMS[0 if LINKED else next(NUMBERS) % len(FORMS)]
    if "model" in NARROW and isinstance(case.body, dict):
        case.body = _tamed(case.body)
    if "session" not in NARROW:
        return
    if case.path.startswith("/v1/models/{model}/versions/"):
        case.query["force"] = True
    if case.path_parameters.get("session_id") == LIVE:
        incarnation = _begin()
        if case.path.endswith("/events"):
            case.headers["Last-Event-ID"] = f"{incarnation}-0"
    if "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = f"key-{RUN}-{next(NUMBERS)}"
    if isinstance(case.body, dict) and case.body.get("id"):
        case.body["id"] = f"id-{RUN}-{next(NUMBERS)}"


def _tamed(body: dict[str, Any]) -> dict[str, Any]:
    """A body that means the same, within what a network can be run on.

    3.0 is an integer to JSON Schema and none to the server; rows of 1e38 are float32, but what a
    network makes of them is not.
    """

    def whole(value: Any) -> Any:
        return int(value) if isinstance(value, float) and value.is_integer() else value

    def small(value: Any) -> Any:
        if isinstance(value, float | int) and MAX_SMALL < abs(value) <= MAX_FLOAT32:
            return MAX_SMALL if value > 0 else -MAX_SMALL
        return value

    changes = dict.fromkeys(WHOLE, whole) | dict.fromkeys(NUMBERED, small)
    return body | {name: _walked(body[name], changes[name]) for name in changes if name in body}


def _begin() -> str:
    """Begin the live session anew. Returns its incarnation."""
    path, wanted = f"/v1/sessions/{LIVE}", {"id": LIVE, "version": "1"}
    server.delete(path)
    made = server.post(f"/v1/models/{MODEL}/sessions", json=wanted).raise_for_status().json()
    server.post(f"{path}/snapshots", json={"name": KEPT}).raise_for_status()
    return made["incarnation"]


def _is_negative(case: Any) -> bool:
    return case.meta is not None and case.meta.generation.mode.is_negative


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Count the answer."""
    name = case.operation.definition.raw["operationId"]
    if name in (
        "unload_model",
        "unload",
    ):  # sessions of what is unloaded answer 503, as they should
        server.post("/v1/models/reload").raise_for_status()
    mode = "negative" if _is_negative(case) else "positive"
    with open(TALLY, "a") as tally:
        tally.write(f"{name} {mode} {response.status_code}\n")
