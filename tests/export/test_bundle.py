from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from safetensors.numpy import save

from export.bundle import (
    INITIAL_STATE,
    MANIFEST,
    STEP_ONNX,
    BundleError,
    BundleMissing,
    FileCorrupt,
    FileOutside,
    ManifestInvalid,
    StateInvalid,
    file_entry,
    read_bundle,
)

REPOSITORY = Path(__file__).resolve().parents[2]


def put_state(folder: Path, data: bytes) -> None:
    """Replace the initial state by other bytes, with size and hash as they should be."""
    (folder / INITIAL_STATE).write_bytes(data)
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes())
    entry = file_entry(data)
    manifest["files"][INITIAL_STATE] = {"sha256": entry.sha256, "nbytes": entry.nbytes}
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))


def state_of(folder: Path) -> dict[str, np.ndarray]:
    return dict(read_bundle(folder).initial_state())


def test_a_bundle_tells_its_manifest_its_fingerprint_and_the_state_to_begin_with(
    small_bundle: Path,
) -> None:
    read = read_bundle(small_bundle)
    manifest = (small_bundle / MANIFEST).read_bytes()
    assert read.manifest.name == "small"
    assert (read.manifest.input.dims, read.manifest.output.dims) == ((6,), (4,))
    assert read.fingerprint == hashlib.sha256(manifest).hexdigest()
    state = read.initial_state()
    assert list(state) == [tensor.name for tensor in read.manifest.state]
    for tensor in read.manifest.state:
        assert (state[tensor.name].shape, state[tensor.name].dtype) == (tensor.dims, tensor.dtype)


def test_a_file_of_the_bundle_is_found_and_read_by_its_name(small_bundle: Path) -> None:
    read = read_bundle(small_bundle)
    assert read.path(STEP_ONNX).read_bytes() == read.read(STEP_ONNX)


def test_a_file_the_manifest_does_not_name_is_not_to_be_had(bundle: Path) -> None:
    (bundle / "extra.onnx").write_bytes(b"unnamed")
    with pytest.raises(BundleMissing, match="extra.onnx"):
        read_bundle(bundle).path("extra.onnx")


def test_a_folder_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BundleMissing, match="no bundle folder"):
        read_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize("file", [MANIFEST, STEP_ONNX, INITIAL_STATE])
def test_a_file_that_is_not_there_is_missing(bundle: Path, file: str) -> None:
    (bundle / file).unlink()
    with pytest.raises(BundleMissing, match=file):
        read_bundle(bundle)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe{}", id="not UTF-8"),
        pytest.param(b'{"name": "caf\xe9"}', id="latin-1 text"),
        pytest.param(b'{"format": 1,', id="cut short"),
        pytest.param(b"[" * 100_000, id="nested"),
        pytest.param(b'{"card": ' + b'{"a":' * 100_000, id="nested card"),
        pytest.param(b"null", id="null"),
        pytest.param(b" " * (4 << 20) + b"{}", id="too long"),
    ],
)
def test_a_manifest_that_is_no_manifest_is_refused(bundle: Path, data: bytes) -> None:
    (bundle / MANIFEST).write_bytes(data)
    with pytest.raises(ManifestInvalid, match=MANIFEST):
        read_bundle(bundle)


def test_a_file_cut_short_is_corrupt_and_the_error_tells_both_sizes(bundle: Path) -> None:
    whole = (bundle / STEP_ONNX).read_bytes()
    (bundle / STEP_ONNX).write_bytes(whole[:-7])
    with pytest.raises(FileCorrupt, match=f"should have {len(whole)} bytes, got {len(whole) - 7}"):
        read_bundle(bundle)


def test_a_file_with_one_other_bit_is_corrupt(bundle: Path) -> None:
    data = bytearray((bundle / STEP_ONNX).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / STEP_ONNX).write_bytes(data)
    with pytest.raises(FileCorrupt, match="sha256"):
        read_bundle(bundle)


def test_a_file_changed_after_the_bundle_was_read_is_corrupt(bundle: Path) -> None:
    read = read_bundle(bundle)
    (bundle / STEP_ONNX).write_bytes(b"\0" * read.manifest.files[STEP_ONNX].nbytes)
    with pytest.raises(FileCorrupt, match="sha256"):
        read.read(STEP_ONNX)


@pytest.mark.parametrize("file", [MANIFEST, STEP_ONNX])
def test_a_link_out_of_the_folder_is_refused_even_to_the_right_bytes(
    bundle: Path, tmp_path: Path, file: str
) -> None:
    outside = (bundle / file).rename(tmp_path / "outside")
    (bundle / file).symlink_to(outside)
    with pytest.raises(FileOutside, match="should lie in its folder"):
        read_bundle(bundle)


def test_a_link_within_the_folder_is_followed_as_mounted_volumes_have_them(bundle: Path) -> None:
    (bundle / "data").mkdir()
    (bundle / STEP_ONNX).rename(bundle / "data" / STEP_ONNX)
    (bundle / STEP_ONNX).symlink_to(Path("data") / STEP_ONNX)
    assert read_bundle(bundle).path(STEP_ONNX) == (bundle / "data" / STEP_ONNX).resolve()


def test_links_in_a_circle_are_refused(bundle: Path) -> None:
    (bundle / STEP_ONNX).unlink()
    (bundle / STEP_ONNX).symlink_to(STEP_ONNX)
    with pytest.raises(BundleError, match=STEP_ONNX):
        read_bundle(bundle)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_plain_file_is_refused_and_not_waited_for(bundle: Path, make) -> None:
    (bundle / STEP_ONNX).unlink()
    make(bundle / STEP_ONNX)
    with pytest.raises(FileOutside, match="plain file"):
        read_bundle(bundle)


def test_a_state_with_a_tensor_too_many_or_too_few_is_refused(bundle: Path) -> None:
    state = state_of(bundle)
    put_state(bundle, save(state | {"stray": np.zeros(3, np.float32)}))
    with pytest.raises(StateInvalid, match="stray"):
        read_bundle(bundle)
    del state["reads"]
    put_state(bundle, save(state))
    with pytest.raises(StateInvalid, match="should have the tensors"):
        read_bundle(bundle)


@pytest.mark.parametrize(
    ("memory", "message"),
    [
        (np.zeros((7, 6), np.float32), r"float32 \[7, 5\], got float32 \[7, 6\]"),
        (np.zeros((35,), np.float32), r"float32 \[7, 5\], got float32 \[35\]"),
        (np.zeros((7, 5), np.float64), r"float32 \[7, 5\], got float64 \[7, 5\]"),
        (np.zeros((7, 5), np.int64), r"float32 \[7, 5\], got int64 \[7, 5\]"),
        (np.full((7, 5), np.nan, np.float32), "should be finite"),
        (np.full((7, 5), -np.inf, np.float32), "should be finite"),
    ],
)
def test_a_state_that_does_not_fit_its_spec_is_refused(
    bundle: Path, memory: np.ndarray, message: str
) -> None:
    put_state(bundle, save(state_of(bundle) | {"memory": memory}))
    with pytest.raises(StateInvalid, match=message):
        read_bundle(bundle)


def safetensors(header: dict, data: bytes) -> bytes:
    encoded = msgspec.json.encode(header)
    return struct.pack("<Q", len(encoded)) + encoded + data


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff" * 64, id="header longer than the file"),
        pytest.param(
            safetensors({"memory": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}, b"ab"),
            id="a dtype numpy has not",
        ),
        pytest.param(
            safetensors(
                {"memory": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}},
                b"abcd",
            ),
            id="dims past memory",
        ),
    ],
)
def test_a_state_that_is_no_safetensors_is_refused_though_its_hash_is_right(
    bundle: Path, data: bytes
) -> None:
    put_state(bundle, data)
    with pytest.raises(StateInvalid, match=INITIAL_STATE):
        read_bundle(bundle)


def test_a_bundle_is_read_where_there_is_no_torch_and_no_onnx(small_bundle: Path) -> None:
    program = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocker())
from pathlib import Path
from export.bundle import read_bundle
print(len(read_bundle(Path(sys.argv[1])).initial_state()))
try:
    import torch
except ImportError as error:
    print(error)
"""
    command = [sys.executable, "-c", program, str(small_bundle)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["6", "torch is blocked"]
