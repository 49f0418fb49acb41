"""A Triton model repository from a bundle. No torch: the files are the bundle's own.

    <repository>/<name>/config.pbtxt             names, dims and types, from the manifest
    <repository>/<name>/initial_state/<tensor>   raw little-endian; none where it is all zeros
    <repository>/<name>/<version>/model.onnx     the bundle's step.onnx, byte for byte

Triton keeps the state (its "implicit state"): what `memory_next` gave is the sequence's next
`memory`. The step has no input that tells of a start, and needs none: at a request with
`sequence_start` Triton puts every tensor back to its `initial_state`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from export.bundle import STEP_ONNX, Bundle
from export.errors import BundleError
from export.folders import replaced
from model.state import TensorSpec

CONFIG, MODEL, INITIAL_STATE = "config.pbtxt", "model.onnx", "initial_state"
MAX_BATCH = 32
MAX_SEQUENCES = 1024  # whose state one Triton holds; a further one waits until one has ended
MAX_IDLE_S = 600  # Triton's own default is one second
VERSION = re.compile(r"[1-9][0-9]{0,17}")
DATA_TYPES = {"float32": "TYPE_FP32", "int64": "TYPE_INT64"}
# numpy's names of what Triton reads, little-endian also on a machine that is not.
LITTLE_ENDIAN = {"float32": "<f4", "int64": "<i8"}

HEAD = """\
name: "{name}"
backend: "onnxruntime"
max_batch_size: {batch}
"""

# Of `oldest`, because a batch under `direct` has rows of sequences that sent nothing, which only a
# model with a READY input can tell from real ones.
BATCHING = """\
sequence_batching {{
  max_sequence_idle_microseconds: {idle_us}
  oldest {{ max_candidate_sequences: {sequences} }}
"""

STATE = """\
  state {{
    input_name: "{name}"
    output_name: "{name}_next"
    data_type: {type}
    dims: {dims}
    initial_state {{ name: "{name}" data_type: {type} dims: {dims} {start} }}
  }}
"""


def write_repository(bundle: Bundle, repository: Path) -> Path:
    """Write the model's folder into `repository`, in place of one that is there, and return it.

    Raises BundleError where the bundle is damaged or is nothing that Triton can hold.
    """
    manifest = bundle.manifest
    _check(bundle)
    initial = bundle.initial_state()
    folder = repository / manifest.name
    with replaced(folder) as fresh:
        (fresh / CONFIG).write_text(config(bundle, initial), "utf-8")
        (fresh / manifest.version).mkdir()
        (fresh / manifest.version / MODEL).write_bytes(bundle.read(STEP_ONNX))
        for name, array in initial.items():
            if array.any():
                (fresh / INITIAL_STATE).mkdir(exist_ok=True)
                data = array.astype(LITTLE_ENDIAN[array.dtype.name]).tobytes()
                (fresh / INITIAL_STATE / name).write_bytes(data)
    return folder


def config(bundle: Bundle, initial: dict[str, NDArray[Any]]) -> str:
    """config.pbtxt: the text form of Triton's message ModelConfig. Dims are without the batch."""
    return "".join(_config(bundle, initial))


def _config(bundle: Bundle, initial: dict[str, NDArray[Any]]) -> Iterator[str]:
    manifest = bundle.manifest
    yield HEAD.format(name=manifest.name, batch=MAX_BATCH)
    yield _tensor("input", manifest.input)
    yield _tensor("output", manifest.output)
    yield BATCHING.format(idle_us=MAX_IDLE_S * 1_000_000, sequences=MAX_SEQUENCES)
    for tensor in manifest.state:
        data = f'data_file: "{tensor.name}"' if initial[tensor.name].any() else "zero_data: true"
        yield STATE.format(
            name=tensor.name,
            type=DATA_TYPES[tensor.dtype],
            dims=list(tensor.dims),
            start=data,
        )
    yield "}\n"


def _tensor(kind: str, tensor: TensorSpec) -> str:
    told = f"data_type: {DATA_TYPES[tensor.dtype]} dims: {list(tensor.dims)}"
    return f'{kind} {{ name: "{tensor.name}" {told} }}\n'


def _check(bundle: Bundle) -> None:
    manifest = bundle.manifest
    if not VERSION.fullmatch(manifest.version):
        raise BundleError(
            f"{bundle.folder}: Triton's versions are whole numbers from 1, without leading zeros; "
            f"the bundle's is {manifest.version!r}"
        )
    for tensor in manifest.state:
        if tensor.update == "sparse":
            raise BundleError(
                f"{bundle.folder}: Triton keeps a state that each step tells whole, and "
                f"{tensor.name!r} is updated sparsely"
            )
        if not tensor.dims:
            raise BundleError(
                f"{bundle.folder}: Triton's state tensors have at least one axis besides the "
                f"batch, {tensor.name!r} has none"
            )
