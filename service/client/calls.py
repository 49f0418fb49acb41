"""Every call of /v1 that the client makes: what is sent, and what its answer means.

Paths, bodies and answers of the server's routes; no state, no I/O. The headers that make a
mutation safe to repeat are added by core.py and session_core.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from numpy.typing import ArrayLike

from service.client import codec
from service.client.answers import HistoryEntry, Memory, Model, SessionInfo, Snapshot, Stepped
from service.client.codec import MSGPACK, Raw, Rows, View
from service.client.errors import Misuse
from service.client.exchange import Call, Reply

STATE_TYPE = "application/vnd.safetensors"
REPLAYED = "idempotency-replayed"


class _Steps(msgspec.Struct, frozen=True):
    outputs: Raw
    step: int
    revision: int
    trace: list[View] | None = None


class _Predicted(msgspec.Struct, frozen=True):
    outputs: Raw


class _Memory(msgspec.Struct, frozen=True):
    step: int
    revision: int
    state: list[View]


class _Models(msgspec.Struct, frozen=True):
    models: list[Model]


class SessionPage(msgspec.Struct, frozen=True):
    """cursor: brings the next page; None on the last."""

    sessions: list[SessionInfo]
    cursor: str | None


class _Snapshots(msgspec.Struct, frozen=True):
    snapshots: list[Snapshot]


class _Entry(msgspec.Struct, frozen=True):
    kind: str
    step: int
    revision: int
    inputs: Raw | None = None
    outputs: Raw | None = None


class _History(msgspec.Struct, frozen=True):
    history: list[_Entry]
    cursor: int | None


class HistoryPage(msgspec.Struct, frozen=True, eq=False):
    """cursor: brings the next page; None on the last."""

    entries: list[HistoryEntry]
    cursor: int | None


def path_of(*parts: str) -> str:
    """A path under /v1 of these parts. Raises Misuse for a part that would be another path."""
    for part in parts:
        if part in ("", ".", ".."):
            raise Misuse(f"expected a name, got {part!r}")
    return "/v1/" + "/".join(quote(part, safe="~") for part in parts)


def get(*parts: str, **query: Any) -> Call:
    """A question. A query parameter of None is left out."""
    asked = {name: str(value) for name, value in query.items() if value is not None}
    return Call("GET", path_of(*parts), {"accept": MSGPACK}, query=asked)


def post(*parts: str, body: Any = None, **fields: Any) -> Call:
    """A body of these fields, where they are not None."""
    said = {name: value for name, value in fields.items() if value is not None} | (body or {})
    headers = {"accept": MSGPACK, "content-type": MSGPACK}
    return Call("POST", path_of(*parts), headers, codec.encode(said))


def create(
    model: str,
    session: str | None,
    version: str | None,
    idle_ttl_s: float | None,
    state: Mapping[str, ArrayLike] | None,
) -> Call:
    """Begin a session."""
    tensors = state and {
        name: codec.raw(codec.floats_of(value, name)) for name, value in state.items()
    }
    fields = {"version": version, "idle_ttl_s": idle_ttl_s, "state": tensors}
    return post("models", model, "sessions", id=session, **fields)


def steps(session: str, rows: Rows, trace: bool) -> Call:
    """Rows for a session."""
    return post("sessions", session, "steps", inputs=codec.pack(rows), trace=trace or None)


def predict(model: str, rows: Rows, version: str | None) -> Call:
    """A sequence from fresh state. It changes nothing."""
    call = post("models", model, "predict", inputs=codec.pack(rows), version=version)
    return msgspec.structs.replace(call, pure=True)


def put_state(session: str, data: bytes) -> Call:
    """A state file for a session."""
    headers = {"accept": MSGPACK, "content-type": STATE_TYPE}
    return Call("PUT", path_of("sessions", session, "state"), headers, data)


def delete(session: str) -> Call:
    """End a session."""
    return Call("DELETE", path_of("sessions", session))


def ready() -> Call:
    """Is everything loaded?"""
    return Call("GET", "/health/ready")


def read_steps(reply: Reply) -> Stepped:
    """The answer to rows. Raises BadAnswer."""
    done = codec.decode(_Steps, reply)
    trace = None if done.trace is None else codec.tensors_of(done.trace)
    outputs = codec.array_of(done.outputs)
    return Stepped(outputs, done.step, done.revision, trace, REPLAYED in reply.headers)


def read_outputs(reply: Reply) -> codec.Floats:
    """Outputs (T, Y). Raises BadAnswer."""
    return codec.array_of(codec.decode(_Predicted, reply).outputs)


def read_memory(reply: Reply) -> Memory:
    """A session's state. Raises BadAnswer."""
    found = codec.decode(_Memory, reply)
    return Memory(found.step, found.revision, codec.tensors_of(found.state))


def read_models(reply: Reply) -> list[Model]:
    """The loaded models. Raises BadAnswer."""
    return codec.decode(_Models, reply).models


def read_snapshots(reply: Reply) -> list[Snapshot]:
    """Kept points. Raises BadAnswer."""
    return codec.decode(_Snapshots, reply).snapshots


def read_history(reply: Reply) -> HistoryPage:
    """A page of what was done. Raises BadAnswer."""
    page = codec.decode(_History, reply)
    return HistoryPage([_entry(entry) for entry in page.history], page.cursor)


def _entry(entry: _Entry) -> HistoryEntry:
    inputs, outputs = (
        None if told is None else codec.array_of(told) for told in (entry.inputs, entry.outputs)
    )
    return HistoryEntry(entry.kind, entry.step, entry.revision, inputs, outputs)
