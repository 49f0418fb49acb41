"""Does an artefact compute what the network computes? Measured at export, kept in the manifest."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.errors import ParityError
from export.step import StepModule

STEPS = 64
BATCHES = (1, 3, 17)
LIMIT = 1e-5
SEED = 20141020

Arrays = list[NDArray[Any]]
Stepper = Callable[[Arrays], Arrays]  # x and the state in; y, the next state and the trace out


def measure(step: StepModule, artefact: Stepper, file: str) -> float:
    """The largest |difference| of any output over 64 random steps at batch 1, 3 and 17.

    Each step is taken twice: from the state the artefact itself came to, and from the
    network's. The last starts from a state of zeros, which a client may well send.
    Raises ParityError above 1e-5, naming the output, and for what is not finite.
    """
    worst = 0.0
    for batch in BATCHES:
        for where, want, got in _compare(step, artefact, batch):
            name, difference = _largest(step.output_names, want, got)
            if not difference <= LIMIT:
                raise ParityError(
                    f"{file}: {name!r} should be within {LIMIT} of the network's, differs by "
                    f"{difference:.2e} at batch {batch}, {where}"
                )
            worst = max(worst, difference)
    return worst


def _compare(
    step: StepModule, artefact: Stepper, batch: int
) -> Iterator[tuple[str, Arrays, Arrays]]:
    """Where, what the network gave, what the artefact gave."""
    carried = len(step.state_spec) + 1
    random = np.random.default_rng([SEED, batch])
    own = want = [np.repeat(row.numpy()[None], batch, 0) for row in step.initial_state()]
    for row in range(STEPS):
        x = random.integers(0, 2, (batch, step.input_size)).astype(np.float32)
        fresh = artefact([x, *want])
        free = artefact([x, *own])
        outputs = reference(step, [x, *want])
        yield f"row {row} from the network's state", outputs, fresh
        yield f"row {row} free-running", outputs, free
        want, own = outputs[1:carried], free[1:carried]
    zeros = [np.zeros_like(array) for array in [x, *want]]
    yield "from a state of zeros", reference(step, zeros), artefact(zeros)


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
        return session.run(step.output_names, dict(zip(names, inputs, strict=True)))

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


def _largest(names: list[str], want: Arrays, got: Arrays) -> tuple[str, float]:
    """The output that differs most; one that is not finite differs most of all."""
    worst = names[0], 0.0
    for name, expected, actual in zip(names, want, got, strict=True):
        difference = float(np.abs(expected - actual).max())
        if not difference <= worst[1]:
            worst = name, difference
            if np.isnan(difference):
                break
    return worst


def _to_numpy(outputs: tuple[Tensor, ...]) -> Arrays:
    return [output.numpy() for output in outputs]
