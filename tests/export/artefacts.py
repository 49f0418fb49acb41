"""What every family's bundle holds to: each artefact is the network, step by step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from export.bundle import Bundle
from export.manifest import STEP_ONNX, STEP_TORCHSCRIPT, STEP_TRACED_ONNX
from export.parity import LONG, follow, onnx_stepper, torchscript_stepper
from export.step import StepModule


def assert_all_are_the_network(
    bundle: Bundle, step_of: Callable[[bool], StepModule], rows: int = LONG
) -> None:
    """Both graphs and the program, over so many rows. step_of: takes whether it is traced."""
    for file, stepper in (
        (STEP_ONNX, onnx_stepper),
        (STEP_TRACED_ONNX, onnx_stepper),
        (STEP_TORCHSCRIPT, torchscript_stepper),
    ):
        step = step_of(file == STEP_TRACED_ONNX)
        difference = follow(step, stepper(bundle.read(file), step), file, rows)
        assert difference.step <= 1e-5 and np.isfinite(difference.drift)
        assert bundle.manifest.parity[file] <= 1e-5 and bundle.manifest.drift[file] <= 1e-3
