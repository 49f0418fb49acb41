"""The OpenAPI document narrowed to what one server's models take.

How long a row is, which sessions there are and what they keep no document can say. Where it says
so for one server, every valid request must be accepted; what is valid for the narrowed document is
valid for the served one too.
"""

from __future__ import annotations

from math import prod
from typing import Any

MODEL, VERSIONS, SPARE = "small", ["1", "2"], "spare"  # SPARE comes and goes
LIVE = "a-live-session"  # begun anew before each request
KEPT = "kept"  # a snapshot that it has
ROWS = 6
NUMBER = {"type": "number", "minimum": -1e3, "maximum": 1e3}
POINTS = [{"revision": 1}, {"step": 0}, {"snapshot": KEPT}]

Document = dict[str, Any]


def narrow(document: Document, manifest: Document) -> None:
    """Narrow a document, in place, to the model of this manifest."""
    for methods in document["paths"].values():
        for operation in methods.values():
            spare = operation["operationId"] == "unload_model"
            for parameter in operation.get("parameters", ()):
                _parameter(parameter, spare)
    shapes = document["components"]["schemas"]
    for name, shape in shapes.items():
        _body(name.removeprefix("Packed"), shape, manifest)


def _parameter(parameter: Document, spare: bool) -> None:
    name, schema = parameter["name"], parameter["schema"]
    known = {
        "session_id": [LIVE],
        "model": [SPARE if spare else MODEL],
        "version": ["1"] if spare else VERSIONS,
        "If-Match": ["*"],
    }
    if name in known:
        schema.clear()
        schema |= {"type": "string", "enum": known[name]}


def _body(name: str, shape: Document, manifest: Document) -> None:
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
    if name in ("PointBody", "ForkBody"):
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
