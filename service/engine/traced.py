"""The traced step of a bundle: the same arithmetic, and what the heads emitted on the way.

It is loaded when somebody first asks for it, and runs on the CPU whatever runs the steps: it is
for people who look. Its state is that of the steps within 1e-5 a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.bundle import STEP_TRACED_ONNX, Bundle
from model.rows import next_names, next_state
from service.engine.onnx import check_graph, open_session
from service.engine.runtime import Floats


class Seen(NamedTuple):
    """What T rows came to. outputs: (T, Y); state: one (T + 1, *dims) a state tensor, as it was
    before the first row and after each; trace: one (T, *dims) a trace tensor."""

    outputs: Floats
    state: list[NDArray[Any]]
    trace: list[NDArray[Any]]


class TracedStep:
    """One bundle's `step_traced.onnx`. Raises BackendError where it cannot be run here.

    everything: what `run` may tell, every state and every trace tensor by index.
    """

    def __init__(self, bundle: Bundle, threads: int) -> None:
        manifest = bundle.manifest
        self._session = open_session(bundle.read(STEP_TRACED_ONNX), threads, "CPUExecutionProvider")
        check_graph(self._session, manifest, manifest.trace)
        self._state = [tensor.name for tensor in manifest.state]
        self._trace = [tensor.name for tensor in manifest.trace]
        self._spec = manifest.state
        self._told = next_names(manifest.state)
        self._outputs = ["y", *self._told, *self._trace]
        self.everything = (list(range(len(self._state))), list(range(len(self._trace))))

    def run(
        self, state: Sequence[NDArray[Any]], rows: Floats, kept: Sequence[int], told: Sequence[int]
    ) -> Seen:
        """Rows (T, X) from a state, one array of dims each. kept, told: which state and which trace
        tensors to tell, by index."""
        wide = [array[None] for array in state]
        states, traces, outputs = [[wide[at][0] for at in kept]], list[list[Any]](), list[Any]()
        for row in rows:
            feed = dict(zip(self._state, wide, strict=True))
            feed["x"] = row[None]
            y, *rest = self._session.run(self._outputs, feed)
            wide = next_state(self._spec, wide, rest[: len(self._told)])
            outputs.append(y[0])
            states.append([wide[at][0] for at in kept])
            traces.append([array[0] for array in rest[len(self._told) :]])
        return Seen(
            np.stack(outputs),
            [np.stack(each) for each in zip(*states, strict=True)],
            [np.stack([each[at] for each in traces]) for at in told],
        )
