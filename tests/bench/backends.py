"""What runtimes are measured against: eager torch, and ONNX Runtime without bound buffers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from export.step import StepModule
from model.state import StateSpec
from service.engine.numpy_arrays import NumpyArrays
from service.engine.onnx import open_session
from service.engine.runtime import Floats, StepOutput
from service.engine.torch_arrays import TorchSteps


class Eager(TorchSteps):
    """The network itself."""

    name = "eager"

    def __init__(self, step: StepModule, threads: int, device: str = "cpu") -> None:
        super().__init__(device, threads)
        self._module = step.to(device)

    def step(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """See `TorchSteps`."""
        y, *following = self._module(x, *state)
        return y, following


class Unbound(NumpyArrays):
    """`session.run`, which allocates its outputs."""

    name = "onnx unbound"

    def __init__(self, model: bytes, spec: StateSpec, threads: int) -> None:
        self._session = open_session(model, threads, "CPUExecutionProvider")
        names = [tensor.name for tensor in spec]
        self._inputs, self._outputs = ["x", *names], ["y", *(f"{name}_next" for name in names)]

    def run(
        self,
        arrays: Sequence[NDArray[Any]],
        src: Sequence[int],
        dst: Sequence[int],
        x: Floats,
        watch: Sequence[int],
    ) -> StepOutput:
        """See `Backend`. Nothing can be watched."""
        state, outputs = self.gather(arrays, src), []
        for row in range(x.shape[1]):
            inputs = [np.ascontiguousarray(x[:, row]), *state]
            feeds = dict(zip(self._inputs, inputs, strict=True))
            y, *state = self._session.run(self._outputs, feeds)
            outputs.append(y)
        self.scatter(arrays, dst, state)
        return StepOutput(np.stack(outputs, 1), [])
