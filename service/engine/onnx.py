"""ONNX Runtime: numpy on the CPU; on CUDA, bound to torch's device memory without a copy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from export.bundle import Manifest
from model.rows import next_names
from model.state import StateSpec, TensorSpec
from service.engine.bound import NUMPY, Buffers
from service.engine.numpy_arrays import NumpyArrays, empty_rows, take
from service.engine.runtime import BackendError, Floats, StepOutput

NOWHERE = "/nonexistent"
DTYPES = {"tensor(float)": "float32", "tensor(int64)": "int64"}
QUIET = "ORT_DISABLE_TELEMETRY"  # read when it is imported
MAX_TOLD = 500  # characters of ONNX Runtime's own message


def open_session(model: bytes, threads: int, provider: str) -> Any:
    """An inference session on one provider. Raises BackendError where it is not to be had."""
    os.environ.setdefault(QUIET, "1")  # or its CPU package reports to its maker, over the network
    try:
        import onnxruntime  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise BackendError(
            "ONNX Runtime is not installed: install the extra 'cpu' or 'gpu'"
        ) from error
    if provider not in onnxruntime.get_available_providers():
        raise BackendError(f"this ONNX Runtime has no {provider}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A worker that spins between ticks would take the front's core.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    # A file holds its own weights: what it names outside is looked for where nothing is.
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", NOWHERE
    )
    try:
        session = onnxruntime.InferenceSession(model, options, providers=[provider])
    except Exception as error:  # each of its errors is a class of its own
        raise BackendError(f"ONNX Runtime does not take the model: {_told(error)}") from error
    if provider not in session.get_providers():  # it falls back to the CPU without a word
        raise BackendError(f"ONNX Runtime could not start {provider} on this machine")
    return session


def check_graph(session: Any, manifest: Manifest, trace: StateSpec = ()) -> None:
    """Raises BackendError where the graph's tensors are not those of the manifest, by which
    memory is allocated. A dimension that the graph leaves open is the manifest's. trace: of a
    traced step, what it tells beside."""
    wanted = {"x": manifest.input, "y": manifest.output}
    for tensor in manifest.state:
        wanted |= {tensor.name: tensor, **_told_of(tensor)}
    wanted |= {tensor.name: tensor for tensor in trace}
    found = {one.name: one for one in (*session.get_inputs(), *session.get_outputs())}
    for name, tensor in wanted.items():
        got = found.get(name)
        if got is None or not _same(got, tensor):
            told = "none" if got is None else f"{got.type} {got.shape[1:]}"
            raise BackendError(
                f"the graph's {name!r} should be {tensor.dtype} {list(tensor.dims)} a row, as in "
                f"the manifest, got {told}"
            )


def _told_of(tensor: TensorSpec) -> dict[str, TensorSpec]:
    """What a graph tells of a state tensor after a step."""
    if tensor.update == "dense":
        return {f"{tensor.name}_next": tensor}
    rows = replace(tensor, dims=(tensor.rows, *tensor.dims[1:]))
    indices = replace(tensor, dims=(tensor.rows,), dtype="int64")
    return dict(zip(next_names((tensor,)), (rows, indices), strict=True))


def _same(got: Any, tensor: TensorSpec) -> bool:
    sizes: list[int | str | None] = got.shape[1:]
    return (
        DTYPES.get(got.type) == tensor.dtype
        and len(sizes) == len(tensor.dims)
        and all(
            size == wanted or not isinstance(size, int)
            for size, wanted in zip(sizes, tensor.dims, strict=True)
        )
    )


def _told(error: Exception) -> str:
    return str(error).splitlines()[0][:MAX_TOLD]


def has_cuda() -> bool:
    """Can ONNX Runtime and torch both reach a CUDA device here?"""
    os.environ.setdefault(QUIET, "1")
    try:
        import onnxruntime  # pyright: ignore[reportMissingImports]
        import torch
    except ImportError:
        return False
    providers: list[str] = onnxruntime.get_available_providers()
    return "CUDAExecutionProvider" in providers and torch.cuda.is_available()


class OnnxCpu(NumpyArrays):
    """numpy arrays through ONNX Runtime's CPU provider, which reads and writes them in place."""

    name = "onnx"

    def __init__(self, model: bytes, spec: StateSpec, threads: int) -> None:
        self.session = open_session(model, threads, "CPUExecutionProvider")
        self._buffers = Buffers(self.session, spec, NUMPY)

    def run(
        self,
        arrays: Sequence[NDArray[Any]],
        src: Sequence[int],
        dst: Sequence[int],
        x: Floats,
        watch: Sequence[int],
    ) -> StepOutput:
        """See `Backend`."""
        batch, rows, width = x.shape
        front = self._buffers.front(batch, width)
        take(arrays, src, front.states[0])
        y = np.empty((batch, rows, front.y.shape[1]), np.float32)
        kept = [empty_rows(front.states[0][at], rows) for at in watch]
        for row in range(rows):
            front.x[:] = x[:, row]
            self.session.run_with_iobinding(front.bindings[row % 2])
            y[:, row] = front.y
            for seen, at in zip(kept, watch, strict=True):
                seen[:, row] = front.states[1 - row % 2][at]
        self.scatter(arrays, dst, front.states[rows % 2])
        return StepOutput(y, kept)
