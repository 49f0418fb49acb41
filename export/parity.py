"""Does an artefact compute what the network computes? Measured at export, kept in the manifest."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.errors import ParityError
from export.step import StepModule
from model.rows import next_names, put

STEPS = 64
BATCHES = (1, 3, 17)
LONG, LONG_BATCH = 1000, 3
LIMITS = {"step": 1e-5, "drift": 1e-3}
SEED = 20141020

Arrays = list[NDArray[Any]]
Stepper = Callable[[Arrays], Arrays]  # x and the state in; y, the next state and the trace out


class Difference(NamedTuple):
    """The largest |difference| of any output; of a trace's numbers above 1, in parts of themselves:
    a strength of 40 has steps of 4e-6 in float32, and nothing is computed from it any more.

    step: of one step from the same state. drift: after up to 64 steps, each from the state the
    artefact itself came to, so that a recurrent network carries every rounding along.
    """

    step: float
    drift: float


def follow(step: StepModule, artefact: Stepper, file: str, rows: int = LONG) -> Difference:
    """Over so many random steps at batch 3, as `measure` does, but the drift is told alone: no
    two kernels keep a recurrent network together for ever. Raises ParityError for a step above
    1e-5 and for what is not finite."""
    limits = {"step": LIMITS["step"], "drift": math.inf}
    return _worst(step, _compare(step, artefact, LONG_BATCH, rows), limits, file, LONG_BATCH)


def measure(step: StepModule, artefact: Stepper, file: str) -> Difference:
    """Over 64 random steps at batch 1, 3 and 17, each from the state the network came to and from
    the one the artefact came to, and one from a state of zeros, which a client may well send.

    Raises ParityError for a step above 1e-5 or a drift above 1e-3, naming the output, and for
    what is not finite.
    """
    each = [
        _worst(step, _compare(step, artefact, batch, STEPS), LIMITS, file, batch)
        for batch in BATCHES
    ]
    return Difference(max(one.step for one in each), max(one.drift for one in each))


def _worst(
    step: StepModule,
    compared: Iterator[tuple[str, str, Arrays, Arrays]],
    limits: dict[str, float],
    file: str,
    batch: int,
) -> Difference:
    worst = {"step": 0.0, "drift": 0.0}
    for kind, where, want, got in compared:
        name, difference = _largest(step, want, got)
        if not difference <= limits[kind]:
            raise ParityError(
                f"{file}: {name!r} should be within {limits[kind]} of the network's, differs "
                f"by {difference:.2e} at batch {batch}, {where}"
            )
        worst[kind] = max(worst[kind], difference)
    return Difference(**worst)


def _compare(
    step: StepModule, artefact: Stepper, batch: int, steps: int
) -> Iterator[tuple[str, str, Arrays, Arrays]]:
    """Which limit holds, where, what the network gave, what the artefact gave."""
    carried = len(next_names(step.state_spec)) + 1
    random = np.random.default_rng([SEED, batch])
    want = [np.repeat(row.numpy()[None], batch, 0) for row in step.initial_state()]
    own = [array.copy() for array in want]
    rows = random.integers(0, 2, (steps, batch, step.input_size)).astype(np.float32)
    zeros = [np.zeros_like(array) for array in [rows[0], *want]]
    yield "step", "from a state of zeros", reference(step, zeros), artefact(zeros)
    for row, x in enumerate(rows):
        outputs = reference(step, [x, *want])
        yield "step", f"row {row} from the network's state", outputs, artefact([x, *want])
        free = artefact([x, *own])
        yield "step", f"row {row} from its own state", reference(step, [x, *own]), free
        yield "drift", f"row {row} free-running", outputs, free
        want = put(step.state_spec, want, outputs[1:carried])
        own = put(step.state_spec, own, free[1:carried])


def reference(step: StepModule, inputs: Arrays) -> Arrays:
    """One eager step."""
    with torch.no_grad():
        return _to_numpy(step(*map(torch.from_numpy, inputs)))


def onnx_stepper(model: bytes, step: StepModule) -> Stepper:
    """The ONNX artefact on ONNX Runtime's CPU provider."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = step.input_names

    def run(inputs: Arrays) -> Arrays:
        outputs: Any = session.run(step.output_names, dict(zip(names, inputs, strict=True)))
        return outputs

    return run


def torchscript_stepper(program: bytes, step: StepModule) -> Stepper:
    """The TorchScript artefact on the CPU."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.load` is deprecated", DeprecationWarning)
        loaded: Any = torch.jit.load(io.BytesIO(program))

    @torch.no_grad()
    def run(inputs: Arrays) -> Arrays:
        return _to_numpy(loaded(*map(torch.from_numpy, inputs)))

    return run


def _largest(step: StepModule, want: Arrays, got: Arrays) -> tuple[str, float]:
    """The output that differs most; one that is not finite differs most of all."""
    names = step.output_names
    carried = len(next_names(step.state_spec)) + 1
    worst = names[0], 0.0
    for place, (name, expected, actual) in enumerate(zip(names, want, got, strict=True)):
        scale = np.maximum(np.abs(expected), 1) if place >= carried else 1
        difference = float((np.abs(expected - actual) / scale).max())
        if not difference <= worst[1]:
            worst = name, difference
            if np.isnan(difference):
                break
    return worst


def _to_numpy(outputs: tuple[Tensor, ...]) -> Arrays:
    return [output.numpy() for output in outputs]
