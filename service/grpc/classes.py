"""Protobuf classes of the messages that schema.py lists.

They live in a pool of their own, so that a client's classes of the same names may be loaded beside.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from service.grpc.schema import DATA_TYPES, MESSAGES, PACKAGE

FIELD = re.compile(r"(?:oneof (\w+): )?(repeated |map )?([\w.]+) (\w+) = (\d+)")

# descriptor_pb2 is made when it is imported, so nothing of it has a type.
_KINDS: Any = descriptor_pb2


@cache
def messages() -> dict[str, Any]:
    """The class of each message, by its name without the package."""
    file = _KINDS.FileDescriptorProto(name="ntm/inference.proto", package=PACKAGE, syntax="proto3")
    data_type = file.enum_type.add(name="DataType")
    for number, name in enumerate(DATA_TYPES):
        data_type.value.add(name=f"TYPE_{name}", number=number)
    found: dict[str, Any] = {}
    for name, fields in MESSAGES.items():
        outer, _, short = name.rpartition(".")
        made = (found[outer].nested_type if outer else file.message_type).add(name=short or name)
        found[name] = made
        for line in fields:
            _add_field(made, name, line)
    pool: Any = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in MESSAGES
    }


def _add_field(message: Any, path: str, line: str) -> None:
    """Add the field that a line of the table says to a message of that name."""
    parsed = FIELD.fullmatch(line)
    if parsed is None:
        raise ValueError(f"{path}: expected '[oneof X: ][repeated |map ]KIND NAME = N', got {line}")
    choice, label, kind, name, number = parsed.groups()
    if label == "map ":
        kind = f"{path}.{_add_map(message, path, name, kind)}"
    field = message.field.add(
        name=name,
        number=int(number),
        label=_KINDS.FieldDescriptorProto.Label.Value(
            "LABEL_REPEATED" if label else "LABEL_OPTIONAL"
        ),
    )
    _set_kind(field, kind)
    if choice:
        names = [one.name for one in message.oneof_decl]
        if choice not in names:
            message.oneof_decl.add(name=choice)
            names.append(choice)
        field.oneof_index = names.index(choice)


def _add_map(message: Any, path: str, name: str, kind: str) -> str:
    """The nested message that a map's entries are. Returns its name."""
    entry = message.nested_type.add(name=name.title().replace("_", "") + "Entry")
    entry.options.map_entry = True
    _add_field(entry, path, "string key = 1")
    _add_field(entry, path, f"{kind} value = 2")
    return entry.name


def _set_kind(field: Any, kind: str) -> None:
    kinds = _KINDS.FieldDescriptorProto.Type
    if f"TYPE_{kind.upper()}" in kinds.keys():
        field.type = kinds.Value(f"TYPE_{kind.upper()}")
    else:
        field.type = kinds.Value("TYPE_ENUM" if kind == "DataType" else "TYPE_MESSAGE")
        field.type_name = f".{PACKAGE}.{kind}"
