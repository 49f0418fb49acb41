"""TorchScript, and ONNX Runtime on CUDA: two of the backends that need torch."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from model.state import StateSpec
from service.engine.bound import Buffers, Memory
from service.engine.cuda_graphs import Graphs
from service.engine.onnx import open_session
from service.engine.runtime import Floats, StepOutput
from service.engine.torch_arrays import Rows, TorchArrays, TorchSteps


class TorchScript(TorchSteps):
    """A traced step. It is a program: load only what is trusted (NTM_TRUST_CODE=1)."""

    name = "torchscript"

    def __init__(self, program: bytes, device: str, threads: int) -> None:
        super().__init__(device, threads)
        with warnings.catch_warnings():
            # Deprecated in favour of torch.export, kept because users hold such files.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._step: Any = torch.jit.load(io.BytesIO(program), map_location=device).eval()
        self._graphs = Graphs(self.step) if device == "cuda" else None

    @torch.inference_mode()
    def step(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """See `TorchSteps`."""
        y, *following = self._step(x, *state)
        return y, following

    @torch.inference_mode()
    def run(
        self,
        arrays: Sequence[Tensor],
        src: Sequence[int],
        dst: Sequence[int],
        x: Floats,
        watch: Sequence[int],
    ) -> StepOutput:
        """See `Backend`. On CUDA small batches replay a recorded step."""
        if self._graphs is None:
            return super().run(arrays, src, dst, x, watch)
        state = self.gather(arrays, src)
        rows = Rows(self.to_device(x), watch)
        graph = self._graphs.of(rows.x[0], state)
        if graph is None:
            return super().run(arrays, src, dst, x, watch)
        for buffer, tensor in zip(graph.state, state, strict=True):
            buffer.copy_(tensor)
        for row in rows.x:
            graph.x.copy_(row)
            graph.replay()
            rows.add(graph.y.clone(), graph.state)
        self.scatter(arrays, dst, graph.state)
        return rows.output()


class OnnxBound(TorchArrays):
    """ONNX Runtime reading and writing torch's device memory through IO binding."""

    name = "onnx"

    def __init__(self, model: bytes, spec: StateSpec, device: str, threads: int) -> None:
        super().__init__(device, threads)
        provider = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
        self.session = open_session(model, threads, provider)
        self._buffers = Buffers(self.session, spec, Memory(device, self._empty, Tensor.data_ptr))

    @torch.inference_mode()
    def run(
        self,
        arrays: Sequence[Tensor],
        src: Sequence[int],
        dst: Sequence[int],
        x: Floats,
        watch: Sequence[int],
    ) -> StepOutput:
        """See `Backend`."""
        front = self._buffers.front(len(x), x.shape[2])
        index = torch.tensor(src, dtype=torch.int64, device=self.device)
        for array, state in zip(arrays, front.states[0], strict=True):
            torch.index_select(array, 0, index, out=state)
        rows = Rows(self.to_device(x), watch)
        for at, row in enumerate(rows.x):
            front.x.copy_(row)
            if self.device == "cuda":
                torch.cuda.synchronize()  # ONNX Runtime computes on a stream of its own
            self.session.run_with_iobinding(front.bindings[at % 2])
            rows.add(front.y.clone(), front.states[1 - at % 2])
        self.scatter(arrays, dst, front.states[len(rows.x) % 2])
        return rows.output()

    def _empty(self, dims: tuple[int, ...], dtype: str) -> Tensor:
        return torch.empty(dims, dtype=getattr(torch, dtype), device=self.device)
