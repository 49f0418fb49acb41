"""What the right answers are: the same rows through the runtime alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice

import numpy as np

from export.bundle import STEP_ONNX, Bundle
from service.engine.arena import INITIAL
from service.engine.onnx import OnnxCpu
from service.engine.runtime import Floats, Runtime


class Reference:
    """One session's rows after the other, in this process. Owns a runtime of its own."""

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        initial = list(bundle.initial_state().values())
        backend = OnnxCpu(bundle.read(STEP_ONNX), manifest.state, 1)
        self.model, width = manifest.name, manifest.input.dims[0]
        self._runtime = Runtime(backend, manifest.state, width, 3, 32, initial)

    def inputs(self, number: int, rows: int) -> list[list[float]]:
        """The rows that session `number` sends with every request: bits, and in the last place a
        number of its own, so that no two sessions' states are equal and stored once."""
        random = np.random.default_rng(number)
        bits = random.integers(0, 2, (rows, self._runtime.input_size)).astype(float)
        bits[:, -1] = round(number % 20_000 * 5e-5, 5)
        return bits.tolist()

    def wrong(self, inputs: list[list[float]], bodies: list[bytes], passed: int = 0) -> int:
        """How many answers are not, to the last bit, what this session's rows come to.

        passed: requests of the same rows that were answered before these.
        """
        right = islice(self.answers(inputs, passed + len(bodies)), passed, None)
        pairs = zip(right, bodies, strict=True)
        return sum(not np.array_equal(outputs, _outputs(body)) for outputs, body in pairs)

    def answers(self, inputs: list[list[float]], count: int) -> Iterator[Floats]:
        """The outputs (K, Y) of as many requests of the same rows (K, X), from the beginning."""
        rows, slot = np.array(inputs, np.float32)[None], self._runtime.slots - 1
        source = INITIAL
        for _ in range(count):
            yield self._runtime.step([source], [slot], rows).y[0]
            source = slot


def _outputs(body: bytes) -> Floats:
    return np.array(json.loads(body)["outputs"], np.float32)
