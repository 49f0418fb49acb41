"""What a machine that calls programs did, read off its stack: of tensors of the role `stack` a row
is a frame, and the tensor of the role `counter` says how many are in use."""

from __future__ import annotations

import numpy as np

from service.insight.explained import Calls
from service.insight.run import Floats, Run


def calls(run: Run, rows: int) -> list[Calls | None]:
    """What each of the rows did to the stack; None for each without a stack and its counter."""
    parts = [array for role, array in run.state.values() if role == "stack" and array.ndim > 1]
    counters = [array for role, array in run.state.values() if role == "counter"]
    if not parts or not counters or counters[0][0].size != 1:
        return [None] * rows
    depths = counters[0].reshape(-1)
    frames = [array.reshape(*array.shape[:2], -1) for array in parts]
    if len({array.shape[1] for array in frames}) != 1:
        return [None] * rows  # not one frame a row of each
    stack = np.concatenate(frames, axis=2)
    return [
        Calls(
            _did(depths[at], depths[at + 1]), _used(stack[at + 1], depths[at + 1]), _told(run, at)
        )
        for at in range(rows)
    ]


def _did(before: float, after: float) -> str:
    return "called" if after > before else "returned" if after < before else "stayed"


def _used(frames: Floats, depth: float) -> list[list[float]]:
    return frames[: max(0, round(float(depth)))].tolist()


def _told(run: Run, at: int) -> dict[str, list[float]]:
    trace = run.trace.items()
    return {name: array[at].ravel().tolist() for name, (role, array) in trace if role == "program"}
