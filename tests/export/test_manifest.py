from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from export.bundle import write_manifest
from export.errors import ManifestInvalid
from export.manifest import (
    INITIAL_STATE,
    STEP_ONNX,
    Manifest,
    decode_manifest,
    encode_manifest,
    spec_fingerprint,
)
from model.state import TensorSpec

BAD_NAMES = (
    "../secret",
    "..",
    ".",
    "",
    ".hidden",
    "/etc/passwd",
    "sub/step.onnx",
    "back\\slash",
    "C:step",
    "Upper",
    "white space",
    "nul\0byte",
    "line\nbreak",
    "step.onnx\n",
    "ünïcode",
    "x" * 65,
)


@pytest.fixture
def plain(small_bundle: Path) -> dict[str, Any]:
    """A valid manifest as JSON objects, to be spoilt."""
    return msgspec.json.decode((small_bundle / "manifest.json").read_bytes())


def decode(plain: dict[str, Any]) -> Manifest:
    return decode_manifest(msgspec.json.encode(plain))


def test_a_manifest_survives_writing_and_reading(plain: dict[str, Any]) -> None:
    manifest = decode(plain)
    assert decode_manifest(encode_manifest(manifest)) == manifest


def test_the_order_in_which_keys_were_put_in_does_not_show_in_the_bytes(
    plain: dict[str, Any],
) -> None:
    manifest = decode(plain)
    turned = replace(manifest, files=dict(reversed(manifest.files.items())))
    assert list(turned.files) != list(manifest.files)
    assert encode_manifest(turned) == encode_manifest(manifest)


def test_a_manifest_is_indented_and_ends_with_a_line_break(plain: dict[str, Any]) -> None:
    encoded = encode_manifest(decode(plain))
    assert encoded.startswith(b'{\n  "format": 1,\n  "name": "small",\n')
    assert encoded.endswith(b"}\n")


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("field", ["name", "version", "family", "task"])
def test_a_name_that_could_be_a_path_is_refused(
    plain: dict[str, Any], field: str, name: str
) -> None:
    with pytest.raises(ManifestInvalid, match="a name should match"):
        decode(plain | {field: name})


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_file_name_that_could_be_a_path_is_refused(plain: dict[str, Any], name: str) -> None:
    plain["files"][name] = plain["files"][STEP_ONNX]
    with pytest.raises(ManifestInvalid, match="a name should match"):
        decode(plain)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_tensor_name_that_could_be_a_path_is_refused(plain: dict[str, Any], name: str) -> None:
    plain["state"][0]["name"] = name
    with pytest.raises(ManifestInvalid, match="a name should match"):
        decode(plain)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format should be 1, got 2"),
        ({"format": "1"}, "Expected `int`"),
        ({"surprise": True}, "unknown field `surprise`"),
        ({"state": {}}, "Expected `array`"),
        ({"files": {}}, "files should have 'initial_state.safetensors'"),
        ({"parity": {"elsewhere.onnx": 0.0}}, "of a file of the bundle"),
        ({"parity": {STEP_ONNX: -1.0}}, "parity should be >= 0"),
        ({"parity": {STEP_ONNX: None}}, "Expected `float`"),
        ({"drift": {STEP_ONNX: -1.0}}, "parity should be >= 0"),
    ],
)
def test_a_field_that_cannot_be_is_refused(
    plain: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ManifestInvalid, match=message):
        decode(plain | change)


def test_a_field_that_is_missing_is_refused(plain: dict[str, Any]) -> None:
    del plain["state"]
    with pytest.raises(ManifestInvalid, match="missing required field `state`"):
        decode(plain)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"sha256": "0" * 63, "nbytes": 1}, "should have a sha256 and a size"),
        ({"sha256": "G" * 64, "nbytes": 1}, "should have a sha256 and a size"),
        ({"sha256": "0" * 64, "nbytes": -1}, "should have a sha256 and a size"),
        ({"sha256": "0" * 64}, "missing required field `nbytes`"),
        ({"sha256": "0" * 64, "nbytes": 1, "url": "http://x"}, "unknown field `url`"),
    ],
)
def test_a_file_entry_that_cannot_be_is_refused(
    plain: dict[str, Any], entry: dict[str, Any], message: str
) -> None:
    plain["files"][INITIAL_STATE] = entry
    with pytest.raises(ManifestInvalid, match=message):
        decode(plain)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dims": [2**40, 2**40]}, "at most 1073741824 bytes a row"),
        ({"dims": [2**28 + 1]}, "at most 1073741824 bytes a row"),
        ({"dims": [10**40]}, "dims"),
        ({"dims": [7, 0]}, "each 1 or more"),
        ({"dims": [-7, -5]}, "each 1 or more"),
        ({"dims": [1] * 9}, "at most 8 axes"),
        ({"dims": [7.5]}, "Expected `int`"),
        ({"dtype": "float16"}, "Invalid enum value 'float16'"),
        ({"dtype": "object"}, "Invalid enum value 'object'"),
        ({"role": "spy"}, "Invalid enum value 'spy'"),
        ({"update": "never"}, "Invalid enum value 'never'"),
    ],
)
@pytest.mark.parametrize("where", ["state", "trace"])
def test_a_tensor_that_cannot_be_is_refused(
    plain: dict[str, Any], where: str, change: dict[str, Any], message: str
) -> None:
    plain[where][1] |= change
    with pytest.raises(ManifestInvalid, match=message):
        decode(plain)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"update": "sparse"}, "1 or more rows a step"),
        ({"update": "sparse", "rows": -1}, "1 or more rows a step"),
        ({"update": "sparse", "rows": 2, "dims": []}, "with an axis"),
        ({"update": "sparse", "rows": 1 << 40}, "tell at most"),
        ({"rows": 2}, "rows should be 0, got 2"),
    ],
)
def test_a_sparsely_updated_tensor_says_how_many_rows_a_step_tells(
    plain: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    plain["state"][1] |= change
    with pytest.raises(ManifestInvalid, match=message):
        decode(plain)


def test_of_the_state_alone_a_tensor_may_be_updated_sparsely(plain: dict[str, Any]) -> None:
    sparse = {"update": "sparse", "rows": 2}
    plain["state"][1] |= sparse
    assert decode(plain).state[1].rows == 2
    plain["trace"][0] |= sparse
    with pytest.raises(ManifestInvalid, match="one of the state"):
        decode(plain)


@pytest.mark.parametrize("where", ["input", "output"])
@pytest.mark.parametrize("change", [{"dims": [2, 3]}, {"dims": []}, {"dtype": "int64"}])
def test_a_row_is_of_floats_on_one_axis(
    plain: dict[str, Any], where: str, change: dict[str, Any]
) -> None:
    plain[where] |= change
    with pytest.raises(ManifestInvalid, match="float32 with one axis"):
        decode(plain)


@pytest.mark.parametrize("name", ["x", "y", "reads", "memory_next", "read_key"])
def test_two_inputs_or_outputs_of_one_name_are_refused(plain: dict[str, Any], name: str) -> None:
    assert plain["state"][1]["name"] == "read_weights"
    plain["state"][1]["name"] = name
    with pytest.raises(ManifestInvalid, match="its own name"):
        decode(plain)


def test_clients_may_have_names_of_their_own_for_rows(plain: dict[str, Any]) -> None:
    plain["input"]["name"], plain["output"]["name"] = "INPUT", "OUTPUT"
    assert (decode(plain).input.name, decode(plain).output.name) == ("INPUT", "OUTPUT")
    plain["output"]["name"] = "a/b"
    with pytest.raises(ManifestInvalid, match="input and output should match"):
        decode(plain)


def test_what_could_not_be_read_is_not_written(plain: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ManifestInvalid, match="a name should match"):
        write_manifest(tmp_path, replace(decode(plain), name="../up"))
    assert list(tmp_path.iterdir()) == []


def test_the_fingerprint_of_a_spec_tells_names_dims_and_dtypes_apart_and_not_roles() -> None:
    spec = (TensorSpec("memory", (7, 5), "memory"), TensorSpec("count", (3,), "counter"))
    fingerprint = spec_fingerprint(spec)
    others = (
        spec[::-1],
        spec[:1],
        (replace(spec[0], name="tape"), spec[1]),
        (replace(spec[0], dims=(5, 7)), spec[1]),
        (spec[0], replace(spec[1], dtype="int64")),
    )
    assert len({fingerprint, *map(spec_fingerprint, others)}) == 6
    assert spec_fingerprint((replace(spec[0], role="other"), spec[1])) == fingerprint
