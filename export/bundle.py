"""A bundle: a folder of data files and the manifest that names and hashes them. No torch.

    manifest.json              what the model is; size and sha256 of each other file
    initial_state.safetensors  each state tensor a new session starts with, without batch axis
    step.onnx                  (x, state) -> (y, state')
    step_traced.onnx           the same, and what the heads emitted
    step.torchscript.pt        optional, and a program: loaded only where code is trusted
    weights.safetensors        optional: the network's own, for steps that are no graph

`read_bundle` believes nothing that it has not checked; export/errors.py has what it raises.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors

from export.errors import (
    BundleError,
    BundleMissing,
    FileCorrupt,
    FileOutside,
    ManifestInvalid,
    ParityError,
    StateInvalid,
)
from export.manifest import (
    FORMAT,
    INITIAL_STATE,
    MAX_AXES,
    NAME_PATTERN,
    STEP_ONNX,
    STEP_TORCHSCRIPT,
    STEP_TRACED_ONNX,
    WEIGHTS,
    FileEntry,
    Manifest,
    check_manifest,
    decode_manifest,
    encode_manifest,
    spec_fingerprint,
)
from model.state import StateSpec

__all__ = [
    "FORMAT",
    "INITIAL_STATE",
    "MANIFEST",
    "MAX_AXES",
    "NAME_PATTERN",
    "STEP_ONNX",
    "STEP_TORCHSCRIPT",
    "STEP_TRACED_ONNX",
    "WEIGHTS",
    "Bundle",
    "BundleError",
    "BundleMissing",
    "FileCorrupt",
    "FileEntry",
    "FileOutside",
    "Manifest",
    "ManifestInvalid",
    "ParityError",
    "StateInvalid",
    "file_entry",
    "read_bundle",
    "spec_fingerprint",
    "write_manifest",
]

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 4 << 20


class Bundle(msgspec.Struct, frozen=True):
    """A bundle whose manifest and files were checked. fingerprint: sha256 of the manifest."""

    folder: Path
    manifest: Manifest
    fingerprint: str

    def path(self, file: str) -> Path:
        """Where a file of the manifest lies. Raises BundleMissing, FileOutside."""
        if file not in self.manifest.files:
            raise BundleMissing(
                f"bundle {self.folder} has {sorted(self.manifest.files)}, not {file!r}"
            )
        return _inside(self.folder, file)

    def read(self, file: str) -> bytes:
        """A file's bytes, checked as they are read. Raises as `path` does, and FileCorrupt."""
        path, want = self.path(file), self.manifest.files[file]
        size = path.stat().st_size
        if size != want.nbytes:
            raise FileCorrupt(f"{path} should have {want.nbytes} bytes, got {size}")
        data = _read(path)
        got = file_entry(data)
        if got != want:
            raise FileCorrupt(f"{path} should have sha256 {want.sha256}, got {got.sha256}")
        return data

    def initial_state(self) -> dict[str, NDArray[Any]]:
        """One array (*dims) a state tensor, in the order of the spec. Raises as `read` does,
        and StateInvalid."""
        try:
            found = load_safetensors(self.read(INITIAL_STATE))
            return _checked_state(self.manifest.state, found)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise StateInvalid(f"{self.folder / INITIAL_STATE}: {error}") from error


def read_bundle(folder: Path) -> Bundle:
    """The bundle in `folder`, with every file of it checked. Raises BundleError."""
    if not folder.is_dir():
        raise BundleMissing(f"no bundle folder at {folder}")
    path = _inside(folder, MANIFEST)
    size = path.stat().st_size
    if size > MAX_MANIFEST_BYTES:
        raise ManifestInvalid(f"{path} should have at most {MAX_MANIFEST_BYTES} bytes, got {size}")
    data = _read(path)
    try:
        manifest = decode_manifest(data)
    except ManifestInvalid as error:
        raise ManifestInvalid(f"{path}: {error}") from error
    bundle = Bundle(folder, manifest, hashlib.sha256(data).hexdigest())
    for file in manifest.files:
        bundle.read(file)
    bundle.initial_state()
    return bundle


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json. Raises ManifestInvalid for what `read_bundle` would refuse."""
    check_manifest(manifest)
    (folder / MANIFEST).write_bytes(encode_manifest(manifest))


def file_entry(data: bytes) -> FileEntry:
    """Hash and size of a file's bytes."""
    return FileEntry(hashlib.sha256(data).hexdigest(), len(data))


def _inside(folder: Path, file: str) -> Path:
    """The file's own path, links followed: a link within the folder is fine, one out of it not."""
    try:
        path = (folder / file).resolve()
    except RuntimeError as error:
        raise FileOutside(f"{folder / file} should lie in its folder: {error}") from error
    if not path.is_relative_to(folder.resolve()):
        raise FileOutside(f"{folder / file} should lie in its folder, leads to {path}")
    if not path.exists():
        raise BundleMissing(f"no file {folder / file}")
    if not path.is_file():
        raise FileOutside(f"{folder / file} should be a plain file")
    return path


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleMissing(f"{path} cannot be read: {error.strerror}") from error


def _checked_state(spec: StateSpec, found: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    names = [tensor.name for tensor in spec]
    if set(names) != set(found):
        raise ValueError(f"should have the tensors {sorted(names)}, got {sorted(found)}")
    for tensor in spec:
        array = found[tensor.name]
        if (array.shape, array.dtype.name) != (tensor.dims, tensor.dtype):
            raise ValueError(
                f"{tensor.name!r} should be {tensor.dtype} {list(tensor.dims)}, "
                f"got {array.dtype.name} {list(array.shape)}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{tensor.name!r} should be finite")
    return {name: found[name] for name in names}
