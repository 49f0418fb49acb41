"""The OpenAPI document narrowed to what one server's models take.

How long a row is, which sessions there are and what they keep no document can say. Where it says
so for one server, every valid request must be accepted; what is valid for the narrowed document is
valid for the served one too.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

MODEL, VERSIONS, SPARE = "small", ["1", "2"], "spare"  # SPARE comes and goes
LIVE = "a-live-session"  # begun anew before each request
KEPT = "kept"  # a snapshot that it has
ROWS = 8  # the server's NTM_MAX_ROWS
NUMBER = {"type": "number", "minimum": -3.4028235e38, "maximum": 3.4028235e38}
LINKED = ("fork_session", "restore_session")  # links give them bodies, which have to be of one type
POINTS = [{"revision": 1}, {"step": 0}, {"snapshot": KEPT}]

Document = dict[str, Any]


def narrow_to_model(document: Document, manifest: Document) -> None:
    """Narrow a document, in place, to the model of this manifest."""
    for operation in _operations(document):
        spare = operation["operationId"] == "unload_model"
        _pin(operation, "model", [SPARE if spare else MODEL])
        _pin(operation, "version", ["1"] if spare else VERSIONS)
        if operation["operationId"] in LINKED:
            del operation["requestBody"]["content"]["application/msgpack"]
        for response in operation["responses"].values():
            for link in response.get("links", {}).values():
                link["x-schemathesis"] = {"merge_body": False}  # its body is the whole
    for name, shape in document["components"]["schemas"].items():
        _rows(name.removeprefix("Packed"), shape, manifest)


def narrow_to_session(document: Document) -> None:
    """Narrow a document, in place, to the session LIVE and the points that it has."""
    for operation in _operations(document):
        _pin(operation, "session_id", [LIVE])
        _pin(operation, "If-Match", ["*"])
    for name, shape in document["components"]["schemas"].items():
        _points(name.removeprefix("Packed"), shape)


def _operations(document: Document) -> Iterator[Document]:
    for methods in document["paths"].values():
        yield from methods.values()


def _pin(operation: Document, name: str, values: list[Any]) -> None:
    for parameter in operation.get("parameters", ()):
        # A model that a list is narrowed to need not be there.
        if parameter["name"] == name and (name, parameter["in"]) != ("model", "query"):
            parameter["schema"] = {"enum": values}


def _rows(name: str, shape: Document, manifest: Document) -> None:
    fields = shape.get("properties", {})
    if name in ("StepsBody", "PredictBody"):
        row = _list_of(NUMBER, manifest["input"]["dims"][0])
        fields["inputs"] = {"type": "array", "items": row, "minItems": 1, "maxItems": ROWS}
    if name in ("CreateBody", "PredictBody", "MigrateBody"):
        fields["version"] = {"type": "string", "enum": VERSIONS}
    if name == "CreateBody":
        tensors = {spec["name"]: _tensor(spec) for spec in manifest["state"]}
        fields["state"] = {
            "type": "object", "properties": tensors, "additionalProperties": False
        }  # fmt: skip


def _points(name: str, shape: Document) -> None:
    if name in ("PointBody", "ForkBody"):
        fields = shape["properties"]
        for point in ("step", "revision", "snapshot"):
            del fields[point]
        points = [_exactly(point, fields) for point in POINTS]
        free = [_exactly({}, fields)] if name == "ForkBody" else []
        shape.clear()
        shape["anyOf"] = points + free


def _exactly(point: Document, fields: Document) -> Document:
    """This point and no other, beside the other fields."""
    pinned = {name: {"enum": [value]} for name, value in point.items()}
    return {
        "type": "object",
        "properties": fields | pinned,
        "required": list(point),
        "additionalProperties": False,
    }


def _tensor(spec: Document) -> Document:
    return _list_of(NUMBER, prod(spec["dims"]))


def _list_of(items: Document, count: int) -> Document:
    return {"type": "array", "items": items, "minItems": count, "maxItems": count}
