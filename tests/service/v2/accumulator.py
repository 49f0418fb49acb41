"""A bundle whose state is a running total: y = total + x, and that is the next total."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import safetensors.numpy
from onnx import TensorProto, helper

from export.bundle import (
    FORMAT,
    INITIAL_STATE,
    STEP_ONNX,
    STEP_TRACED_ONNX,
    Manifest,
    file_entry,
    write_manifest,
)
from model.state import TensorSpec

NAME = "accumulator"


def make_accumulator(
    folder: Path, version: str = "1", name: str = NAME, rows: tuple[str, str] = ("x", "y")
) -> Manifest:
    """Write the bundle into `folder`, which is made. rows: what clients call rows in and out."""
    folder.mkdir(parents=True)
    step = _graph().SerializeToString()
    state = safetensors.numpy.save({"total": np.zeros(1, np.float32)})
    files = {INITIAL_STATE: state, STEP_ONNX: step, STEP_TRACED_ONNX: step}
    manifest = Manifest(
        format=FORMAT,
        name=name,
        version=version,
        family="accumulator",
        task="sum",
        input=TensorSpec(rows[0], (1,), "other"),
        output=TensorSpec(rows[1], (1,), "other"),
        state=(TensorSpec("total", (1,), "memory"),),
        trace=(),
        form={"kind": "numbers"},
        files={name: file_entry(data) for name, data in files.items()},
        parity={},
        drift={},
        card={},
    )
    write_manifest(folder, manifest)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return manifest


def _graph() -> onnx.ModelProto:
    def value(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 1])

    nodes = [
        helper.make_node("Add", ["total", "x"], ["y"]),
        helper.make_node("Identity", ["y"], ["total_next"]),
    ]
    graph = helper.make_graph(
        nodes, NAME, [value("x"), value("total")], [value("y"), value("total_next")]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
