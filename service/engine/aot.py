"""AOTInductor: the step as native code, compiled for this machine by `ntm compile`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch._inductor import aoti_load_package

from model.state import StateSpec
from service.engine.bound import aligned
from service.engine.numpy_arrays import NumpyArrays, empty_rows, take
from service.engine.runtime import BackendError, Floats, StepOutput


class Front(NamedTuple):
    """What a batch is gathered into, and the tensors that are the same memory."""

    x: Floats  # (B, X)
    state: list[NDArray[Any]]
    tensors: list[Tensor]  # x, then the state


class Aot(NumpyArrays):
    """A compiled step, on the CPU. It is native code: load only what `compiled.find` gave.

    Slots are numpy's, whose gather and scatter cost a third of torch's at small batches.
    """

    name = "aot"

    def __init__(self, path: Path, spec: StateSpec, threads: int) -> None:
        # The count is the calling thread's own: set elsewhere, a step takes many times as long.
        torch.set_num_threads(threads)
        try:
            package: Any = aoti_load_package(str(path), run_single_threaded=True)
        except RuntimeError as error:
            told = str(error).splitlines()[0]
            raise BackendError(f"torch does not load the compiled step: {told}") from error
        self._run: Any = package.loader.run  # without the checks and trees of a call
        self._spec, self._largest = spec, 0
        self._fronts: dict[int, Front] = {}

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
        front = self._front(batch, width)
        take(arrays, src, front.state)
        outputs: list[Floats] = []
        kept = [empty_rows(front.state[at], rows) for at in watch]
        row_in, *state = front.tensors
        for row in range(rows):
            front.x[:] = x[:, row]
            y, *state = self._run([row_in, *state])  # each a new tensor, all in one piece
            outputs.append(y.numpy())
            for seen, at in zip(kept, watch, strict=True):
                seen[:, row] = state[at].numpy()
        self.scatter(arrays, dst, [tensor.numpy() for tensor in state])
        return StepOutput(np.stack(outputs, 1), kept)

    def _front(self, size: int, width: int) -> Front:
        """Every size uses the front of the same memory."""
        if size > self._largest:
            self._fronts.clear()
            self._x = aligned((size, width), "float32")
            self._state = [aligned((size, *t.dims), t.dtype) for t in self._spec]
            self._largest = size
        if size not in self._fronts:
            x, state = self._x[:size], [array[:size] for array in self._state]
            self._fronts[size] = Front(x, state, [torch.from_numpy(a) for a in (x, *state)])
        return self._fronts[size]
