"""The manifest: all a server needs to know of a model before it opens another file. No torch."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from export.errors import ManifestInvalid
from model.rows import next_names
from model.state import StateSpec, TensorSpec

FORMAT = 1
INITIAL_STATE = "initial_state.safetensors"
STEP_ONNX = "step.onnx"
STEP_TRACED_ONNX = "step_traced.onnx"
STEP_TORCHSCRIPT = "step.torchscript.pt"
WEIGHTS = "weights.safetensors"
REQUIRED_FILES = (INITIAL_STATE, STEP_ONNX, STEP_TRACED_ONNX)

# Of models, versions, files and tensors. No separator and no leading dot, so what matches is
# never a path out of a folder.
ROW_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")  # what clients of V2 call them
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")
MAX_TENSOR_BYTES = 1 << 30  # of one row of one declared tensor
MAX_FILE_BYTES = 2 << 30  # no ONNX file can be longer
MAX_AXES = 8


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the bundle."""

    sha256: str
    nbytes: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See the module."""

    format: int
    name: str
    version: str
    family: str
    task: str
    input: TensorSpec  # one row, dims (X,); x in the graphs, whatever its name here
    output: TensorSpec  # one row, dims (Y,); y in the graphs
    state: StateSpec
    trace: StateSpec
    form: dict[str, Any]  # the kind of input form, e.g. {"kind": "bits", "flags": ["delimiter"]}
    files: dict[str, FileEntry]
    parity: dict[str, float]  # artefact file -> largest |difference| of a step from torch's
    drift: dict[str, float]  # the same after 64 steps, each artefact from its own state
    card: dict[str, Any]


def encode_manifest(manifest: Manifest) -> bytes:
    """Indented JSON: fields in the struct's order, keys of mappings sorted."""
    encoded = msgspec.json.encode(manifest, order="deterministic")
    return msgspec.json.format(encoded, indent=2) + b"\n"


def decode_manifest(data: bytes) -> Manifest:
    """The manifest in `data`, checked. Raises ManifestInvalid, naming what cannot be."""
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise ManifestInvalid(str(error)) from error
    check_manifest(manifest)
    return manifest


def check_manifest(manifest: Manifest) -> None:
    """Raises ManifestInvalid, with the first thing expected that did not come."""
    if manifest.format != FORMAT:
        raise ManifestInvalid(f"format should be {FORMAT}, got {manifest.format}")
    for check in (_names, _tensors, _rows, _graph_names, _files):
        for problem in check(manifest):
            raise ManifestInvalid(problem)


def spec_fingerprint(state_spec: StateSpec) -> str:
    """sha256 over names, dims and dtypes: equal where one state fits in the other's place."""
    shape = [(tensor.name, tensor.dims, tensor.dtype) for tensor in state_spec]
    return hashlib.sha256(msgspec.json.encode(shape)).hexdigest()


def _all_tensors(manifest: Manifest) -> StateSpec:
    return (manifest.input, manifest.output, *manifest.state, *manifest.trace)


def _names(manifest: Manifest) -> Iterator[str]:
    tensors = (tensor.name for tensor in (*manifest.state, *manifest.trace))
    plain = (manifest.name, manifest.version, manifest.family, manifest.task)
    for name in (*plain, *manifest.files, *tensors):
        if not NAME_PATTERN.fullmatch(name):
            yield f"a name should match {NAME_PATTERN.pattern}, got {name!r}"
    for tensor in (manifest.input, manifest.output):
        if not ROW_PATTERN.fullmatch(tensor.name):
            yield f"input and output should match {ROW_PATTERN.pattern}, got {tensor.name!r}"


def _tensors(manifest: Manifest) -> Iterator[str]:
    for tensor in _all_tensors(manifest):
        if len(tensor.dims) > MAX_AXES or any(size < 1 for size in tensor.dims):
            yield (
                f"tensor {tensor.name!r} should have at most {MAX_AXES} axes, each 1 or more, "
                f"got dims {list(tensor.dims)}"
            )
        elif tensor.nbytes > MAX_TENSOR_BYTES:
            yield (
                f"tensor {tensor.name!r} should have at most {MAX_TENSOR_BYTES} bytes a row, "
                f"got dims {list(tensor.dims)}"
            )
    for row in (manifest.input, manifest.output):
        if len(row.dims) != 1 or row.dtype != "float32":
            yield (
                f"{row.name!r} should be float32 with one axis, "
                f"got {row.dtype} with dims {list(row.dims)}"
            )


def _rows(manifest: Manifest) -> Iterator[str]:
    """A step tells of a sparsely updated tensor so many rows, which no other tensor has."""
    state = manifest.state
    for tensor in _all_tensors(manifest):
        sparse = tensor.update == "sparse"
        if sparse and not (tensor in state and tensor.dims and 1 <= tensor.rows):
            yield (
                f"a sparsely updated tensor should be one of the state, with an axis and 1 or "
                f"more rows a step, got {tensor.name!r}: {list(tensor.dims)}, {tensor.rows} rows"
            )
        elif sparse and tensor.rows * tensor.nbytes > MAX_TENSOR_BYTES * tensor.dims[0]:
            yield f"{tensor.name!r} should tell at most {MAX_TENSOR_BYTES} bytes a step"
        elif not sparse and tensor.rows:
            yield f"{tensor.name!r} is updated whole, so rows should be 0, got {tensor.rows}"


def _graph_names(manifest: Manifest) -> Iterator[str]:
    """Inputs and outputs of one graph must have names of their own; a row in is x there and a row
    out is y, whatever clients call them."""
    state = [tensor.name for tensor in manifest.state]
    outputs = ["y", *next_names(manifest.state), *(t.name for t in manifest.trace)]
    for name, count in Counter(["x", *state, *outputs]).items():
        if count > 1:
            yield f"each input and output should have its own name, got {name!r} {count} times"


def _files(manifest: Manifest) -> Iterator[str]:
    for file in REQUIRED_FILES:
        if file not in manifest.files:
            yield f"files should have {file!r}, got {sorted(manifest.files)}"
    for file, entry in manifest.files.items():
        if not 0 <= entry.nbytes <= MAX_FILE_BYTES or not SHA256_PATTERN.fullmatch(entry.sha256):
            yield (
                f"{file!r} should have a sha256 and a size of at most {MAX_FILE_BYTES} bytes, "
                f"got {entry}"
            )
    for file, difference in [*manifest.parity.items(), *manifest.drift.items()]:
        if file not in manifest.files or not 0 <= difference < math.inf:
            yield f"parity should be >= 0 of a file of the bundle, got {file!r}: {difference}"
