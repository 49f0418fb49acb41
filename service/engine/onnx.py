"""ONNX Runtime: numpy on the CPU; on CUDA, bound to torch's device memory without a copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.state import StateSpec
from service.engine.runtime import BackendError, Floats


def open_session(model: bytes, threads: int, provider: str) -> Any:
    """An inference session on one provider. Raises BackendError where it is not to be had."""
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
    session = onnxruntime.InferenceSession(model, options, providers=[provider])
    if provider not in session.get_providers():  # it falls back to the CPU without a word
        raise BackendError(f"ONNX Runtime could not start {provider} on this machine")
    return session


def has_cuda() -> bool:
    """Can ONNX Runtime and torch both reach a CUDA device here?"""
    try:
        import onnxruntime  # pyright: ignore[reportMissingImports]
        import torch
    except ImportError:
        return False
    providers: list[str] = onnxruntime.get_available_providers()
    return "CUDAExecutionProvider" in providers and torch.cuda.is_available()


class OnnxCpu:
    """numpy arrays through ONNX Runtime's CPU provider."""

    name, device = "onnx", "cpu"

    def __init__(self, model: bytes, spec: StateSpec, threads: int) -> None:
        self._session = open_session(model, threads, "CPUExecutionProvider")
        self._inputs = ["x", *(tensor.name for tensor in spec)]
        self._outputs = ["y", *(f"{tensor.name}_next" for tensor in spec)]

    def allocate(self, spec: StateSpec, slots: int) -> list[NDArray[Any]]:
        """See `Backend`."""
        return [np.zeros((slots, *tensor.dims), tensor.dtype) for tensor in spec]

    def gather(self, arrays: Sequence[NDArray[Any]], slots: Sequence[int]) -> list[NDArray[Any]]:
        """See `Backend`."""
        index = np.array(slots, np.intp)
        return [array.take(index, 0) for array in arrays]  # half of what indexing takes

    def scatter(
        self, arrays: Sequence[NDArray[Any]], slots: Sequence[int], state: list[NDArray[Any]]
    ) -> None:
        """See `Backend`."""
        if len(slots) == 1:  # a session placed: a plain copy takes a quarter
            for array, rows in zip(arrays, state, strict=True):
                array[slots[0]] = rows[0]
            return
        index = np.array(slots, np.intp)
        for array, rows in zip(arrays, state, strict=True):
            array[index] = rows[: len(slots)]

    def step(self, x: Floats, state: list[NDArray[Any]]) -> tuple[Floats, list[NDArray[Any]]]:
        """See `Backend`."""
        feeds = dict(zip(self._inputs, [x, *state], strict=True))
        y, *following = self._session.run(self._outputs, feeds)
        return y, following

    def to_numpy(self, array: NDArray[Any]) -> NDArray[Any]:
        """See `Backend`."""
        return array

    def from_numpy(self, array: NDArray[Any]) -> NDArray[Any]:
        """See `Backend`."""
        return array

    def device_bytes(self) -> int | None:
        """See `Backend`."""
        return None
