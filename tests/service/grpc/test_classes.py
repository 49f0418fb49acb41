"""The messages against those that Triton's own client package was compiled from."""

from __future__ import annotations

from typing import Any

import pytest
from tritonclient.grpc import model_config_pb2, service_pb2

from service.grpc import classes
from service.grpc.calls import METHODS
from service.grpc.classes import messages
from service.grpc.handlers import STREAM
from service.grpc.schema import DATA_TYPES, MESSAGES, PACKAGE, SERVICE

PUBLISHED: Any = service_pb2
CONFIG: Any = model_config_pb2


def published(name: str) -> Any:
    """The descriptor of a message, which may lie in another, in either published file."""
    outer, *inner = name.split(".")
    files = (PUBLISHED.DESCRIPTOR, CONFIG.DESCRIPTOR)
    (found,) = [
        file.message_types_by_name[outer] for file in files if outer in file.message_types_by_name
    ]
    for part in inner:
        found = found.nested_types_by_name[part]
    return found


def told(field: Any) -> tuple[Any, ...]:
    """All of a field that is on the wire or in a client's code."""
    kind = field.message_type or field.enum_type
    return (
        field.name,
        field.number,
        field.type,
        field.is_repeated,
        kind and kind.full_name,
        field.containing_oneof and field.containing_oneof.name,
    )


@pytest.mark.parametrize("name", MESSAGES)
def test_every_field_is_the_published_one(name: str):
    ours, theirs = messages()[name].DESCRIPTOR, published(name)
    assert ours.full_name == theirs.full_name == f"{PACKAGE}.{name}"
    for field in ours.fields:
        assert told(field) == told(theirs.fields_by_name[field.name])


@pytest.mark.parametrize(
    "name",
    [name for name in MESSAGES if name.split(".")[0] in PUBLISHED.DESCRIPTOR.message_types_by_name],
)
def test_no_field_of_a_message_is_missing_but_two_of_the_statistics(name: str):
    missing = set(published(name).fields_by_name) - set(messages()[name].DESCRIPTOR.fields_by_name)
    assert missing == ({"memory_usage", "response_stats"} if name == "ModelStatistics" else set())


def test_maps_are_maps_of_the_same_entries():
    ours = messages()["ModelInferRequest"].DESCRIPTOR.fields_by_name["parameters"].message_type
    theirs = published("ModelInferRequest").fields_by_name["parameters"].message_type
    assert ours.GetOptions().map_entry
    assert [told(field) for field in ours.fields] == [told(field) for field in theirs.fields]


def test_data_types_have_the_published_numbers():
    theirs = CONFIG.DESCRIPTOR.enum_types_by_name["DataType"]
    assert {f"TYPE_{name}": number for number, name in enumerate(DATA_TYPES)} == {
        value.name: value.number for value in theirs.values
    }


@pytest.mark.parametrize("name", [*METHODS, STREAM])
def test_every_method_is_a_published_one_of_the_same_messages(name: str):
    service = PUBLISHED.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    method = service.methods_by_name[name]
    asked = "ModelInfer" if name == STREAM else name
    assert service.full_name == SERVICE
    assert method.input_type.name == f"{asked}Request"
    assert method.output_type.name == f"{name}Response"
    assert method.client_streaming == method.server_streaming == (name == STREAM)


def test_a_message_reads_back_in_the_client_s_classes():
    made = messages()["ModelInferRequest"](model_name="small", raw_input_contents=[b"\1\2"])
    made.parameters["sequence_id"].uint64_param = 2**64 - 1
    made.inputs.add(name="x", datatype="FP32", shape=[1, 7]).contents.fp32_contents.append(0.5)
    read = PUBLISHED.ModelInferRequest.FromString(made.SerializeToString())
    assert read.parameters["sequence_id"].uint64_param == 2**64 - 1
    assert list(read.inputs[0].contents.fp32_contents) == [0.5]
    assert read.SerializeToString() == made.SerializeToString()


def test_a_line_of_the_table_that_is_none_is_refused_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(classes, "MESSAGES", {"Odd": ("string name 1",)})
    messages.cache_clear()
    with pytest.raises(ValueError, match="Odd: expected .* got string name 1"):
        messages()
    monkeypatch.undo()
    messages.cache_clear()
