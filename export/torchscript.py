"""The step as traced TorchScript, for those who serve from torch or C++. It is a program."""

from __future__ import annotations

import io
import warnings
import zipfile
from typing import Any

import torch

from export.step import StepModule

EPOCH = (1980, 1, 1, 0, 0, 0)


def to_torchscript(step: StepModule) -> bytes:
    """The step as a frozen trace; its arguments are named as the step names its inputs.

    Batch is dynamic: nothing in a step depends on its size, which parity proves at 1, 3 and 17.
    """
    buffer = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        # TorchScript is deprecated in favour of torch.export, and is what there is for C++.
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        # The checks of shapes are Python, so a trace leaves them out.
        warnings.filterwarnings("ignore", "Converting a tensor to a Python")
        traced: Any = torch.jit.trace(step, step.example(), check_trace=False)
        inputs = list(traced.graph.inputs())[1:]  # the first is the module
        for value, name in zip(inputs, step.input_names, strict=True):
            value.setDebugName(name)
        torch.jit.save(torch.jit.freeze(traced), buffer)
    return _without_origin(buffer)


def _without_origin(archive: io.BytesIO) -> bytes:
    """The archive without the records that name source files of the exporting machine."""
    stripped = io.BytesIO()
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(stripped, "w") as target:
        for name in source.namelist():
            if not name.endswith(".debug_pkl"):
                target.writestr(zipfile.ZipInfo(name, EPOCH), source.read(name))
    return stripped.getvalue()
