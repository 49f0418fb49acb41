"""TorchScript, and ONNX Runtime on CUDA: the backends that need torch."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.state import StateSpec, TensorSpec
from service.engine.onnx import open_session
from service.engine.runtime import Floats
from service.engine.torch_arrays import TorchArrays


class TorchScript(TorchArrays):
    """A traced step. It is a program: load only what is trusted (NTM_TRUST_CODE=1)."""

    name = "torchscript"

    def __init__(self, program: bytes, device: str, threads: int) -> None:
        super().__init__(device, threads)
        with warnings.catch_warnings():
            # Deprecated in favour of torch.export, kept because users hold such files.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._step: Any = torch.jit.load(io.BytesIO(program), map_location=device).eval()

    @torch.inference_mode()
    def step(self, x: Floats, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """See `Backend`."""
        y, *following = self._step(torch.from_numpy(x).to(self.device), *state)
        return y, following


class OnnxBound(TorchArrays):
    """ONNX Runtime reading and writing torch's device memory through IO binding."""

    name = "onnx"

    def __init__(
        self, model: bytes, spec: StateSpec, output: TensorSpec, device: str, threads: int
    ) -> None:
        super().__init__(device, threads)
        provider = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
        self.session = open_session(model, threads, provider)
        self._spec, self._output = spec, output

    def step(self, x: Floats, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """See `Backend`."""
        binding = self.session.io_binding()
        row = torch.from_numpy(x).to(self.device)
        y = torch.empty((len(x), *self._output.dims), device=self.device)
        following = [torch.empty_like(tensor) for tensor in state]
        names = [tensor.name for tensor in self._spec]
        self._bind(binding.bind_input, ["x", *names], [row, *state])
        self._bind(binding.bind_output, ["y", *(f"{n}_next" for n in names)], [y, *following])
        if self.device == "cuda":
            torch.cuda.synchronize()  # ONNX Runtime computes on a stream of its own
        self.session.run_with_iobinding(binding)
        return y, following

    def _bind(self, bind: Any, names: Sequence[str], tensors: Sequence[Tensor]) -> None:
        for name, tensor in zip(names, tensors, strict=True):
            kind = np.int64 if tensor.dtype == torch.int64 else np.float32
            bind(name, self.device, 0, kind, tuple(tensor.shape), tensor.data_ptr())
