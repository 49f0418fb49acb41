"""The shapes in the OpenAPI document: of each struct the one that JSON has, and MessagePack's.

Both forms decode to one struct, so what a client sees of it differs: rows and tensors are lists in
JSON answers and raw bytes in MessagePack's. A shape that differs is told as `Packed<name>` too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import combinations
from typing import Any

import msgspec

from service.errors import Problem, codes
from service.insight.explained import Explained
from service.results import SessionInfo, SessionPage, SnapshotInfo
from service.schemas import (
    CreateBody,
    EmptyBody,
    ForkBody,
    HistoryAnswer,
    Live,
    MemoryAnswer,
    MigrateBody,
    ModelDetail,
    ModelList,
    MovedAnswer,
    PointBody,
    PredictAnswer,
    PredictBody,
    Ready,
    SnapshotBody,
    SnapshotList,
    StepsAnswer,
    StepsBody,
    TenantAnswer,
    TraceAnswer,
)
from service.stream.events import ENDS, NAMES, NOTICES

Shape = dict[str, Any]

BODIES = (CreateBody, EmptyBody, ForkBody, MigrateBody, PointBody, PredictBody, SnapshotBody)
ANSWERS = (HistoryAnswer, Live, MemoryAnswer, ModelDetail, ModelList, MovedAnswer, PredictAnswer)
OTHERS = (Ready, SessionInfo, SessionPage, SnapshotInfo, SnapshotList, StepsAnswer, StepsBody)
KEYED = (TenantAnswer,)
LOOKING = (Explained, TraceAnswer)
PLACE = "#/components/schemas/"
PACKED = "Packed"
BINARY: Shape = {"type": "string", "format": "binary"}
POINTS = ("step", "revision", "snapshot")
INTERNAL = ("replayed",)  # a header tells it


def components() -> dict[str, Shape]:
    """Every shape by its name."""
    plain, packed = _plain(), _packed()
    found = {"Problem": _problem(), "Event": _event()}
    for name, shape in plain.items():
        found[name] = shape if _taken(name) else _mapped(shape, _as_json)
        if name in packed:
            told = shape if _taken(name) else _mapped(shape, _as_msgpack)
            found[PACKED + name] = _mapped(told, lambda part: _renamed(part, packed))
    return found


def of(kind: type[Any], packed: bool = False) -> Shape:
    """A reference to the shape of a struct in one of the forms."""
    name = kind.__name__
    return {"$ref": f"{PLACE}{PACKED}{name}" if packed and name in _packed() else PLACE + name}


@cache
def _plain() -> dict[str, Shape]:
    """The shapes as msgspec tells them: with the rows of both forms."""
    kinds = (*BODIES, *ANSWERS, *OTHERS, *KEYED, *LOOKING)
    _, found = msgspec.json.schema_components(kinds, ref_template=PLACE + "{name}")
    return {name: _pointed(name, shape) for name, shape in found.items()}


def _taken(name: str) -> bool:
    """Is it what a request brings? That may have either form's rows."""
    return name.endswith("Body") or name == "Tensor"


@cache
def _packed() -> set[str]:
    """The names of the shapes that hold bytes, themselves or in another."""
    plain = _plain()
    found = {name for name, shape in plain.items() if '"contentEncoding"' in _text(shape)}
    while more := {
        name
        for name, shape in plain.items()
        if name not in found and any(f'"{PLACE}{known}"' in _text(shape) for known in found)
    }:
        found |= more
    return found


def _problem() -> Shape:
    """Problem details with the members that only some have."""
    _, found = msgspec.json.schema_components((Problem,))
    shape = found["Problem"]
    told: Shape = {"description": "Where it can be said."}
    shape["properties"] |= {"code": {"type": "string", "enum": sorted(codes())}}
    shape["properties"] |= {"expected": told, "got": told, "where": {"type": "string"} | told}
    return shape


def _event() -> Shape:
    """A server-sent event, its fields as members."""
    names = sorted({*NAMES.values(), *NOTICES, *ENDS, "missed", "failed"})
    return {
        "title": "Event",
        "description": "One event. A stream of them has no end of its own.",
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "What Last-Event-ID takes."},
            "event": {"type": "string", "enum": names},
            "data": {"type": "string", "contentMediaType": "application/json"},
            "retry": {"type": "integer"},
        },
        "required": ["event", "data"],
    }


def _pointed(name: str, shape: Shape) -> Shape:
    """How many points a body may name, which the types of its fields do not say."""
    named: list[Shape] = [
        {"required": [point], "properties": {point: {"not": {"type": "null"}}}} for point in POINTS
    ]
    if name == "PointBody":
        return shape | {"oneOf": named}
    if name == "ForkBody":
        return shape | {"not": {"anyOf": [{"allOf": list(two)} for two in combinations(named, 2)]}}
    return shape


def _mapped(value: Any, change: Callable[[Shape], Shape]) -> Any:
    """The value with each object in it changed, from the inside out."""
    if isinstance(value, list):
        return [_mapped(part, change) for part in value]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(value, dict):
        return value
    parts: Shape = {name: _mapped(part, change) for name, part in value.items()}  # pyright: ignore[reportUnknownVariableType]
    return change(parts)


def _as_json(shape: Shape) -> Shape:
    """Rows and tensors as lists, where null stands for a number that is not finite."""
    shape = _among(shape, lambda choice: not _is_raw(choice))
    if shape.get("items") == {"type": "number"}:
        shape = shape | {"items": {"type": ["number", "null"]}}
    return _public(shape)


def _as_msgpack(shape: Shape) -> Shape:
    """Rows and tensors as bytes."""
    return _public(_among(shape, lambda choice: _is_raw(choice) or not _is_list(choice)))


def _among(shape: Shape, wanted: Callable[[Shape], bool]) -> Shape:
    """A choice between a list of numbers and bytes comes down to one of them."""
    choices: list[Shape] = shape.get("anyOf", [])
    if not any(_is_raw(choice) for choice in choices):
        return shape
    kept = [choice for choice in choices if wanted(choice)]
    rest = {name: value for name, value in shape.items() if name != "anyOf"}
    return rest | (kept[0] if len(kept) == 1 else {"anyOf": kept})


def _public(shape: Shape) -> Shape:
    kept: Shape = shape.get("properties", {})
    if not any(name in kept for name in INTERNAL):
        return shape
    return shape | {"properties": {name: kept[name] for name in kept if name not in INTERNAL}}


def _is_raw(shape: Shape) -> bool:
    return "contentEncoding" in shape or shape.get("$ref") == PLACE + "Tensor"


def _is_list(shape: Shape) -> bool:
    return shape.get("type") == "array"


def _renamed(shape: Shape, packed: set[str]) -> Shape:
    """References to shapes that differ lead to MessagePack's; bytes are bytes."""
    if "contentEncoding" in shape:
        return BINARY
    name = shape.get("$ref", "").removeprefix(PLACE)
    return {"$ref": f"{PLACE}{PACKED}{name}"} if name in packed else shape


def _text(shape: Shape) -> str:
    return msgspec.json.encode(shape).decode()
