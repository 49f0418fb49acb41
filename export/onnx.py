"""The step as ONNX: weights embedded, dynamic batch, the same bytes for the same weights."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

import onnx
import torch
import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript.optimizer import fold_constants

from export.step import StepModule

BATCH = "batch"
OPSET = 20


def to_onnx(step: StepModule) -> bytes:
    """The step as a checked ONNX model. Inputs and outputs are named as the step names them."""
    model = _trace(step)
    _simplify(model)
    _strip(model)
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString(deterministic=True)


def _trace(step: StepModule) -> ir.Model:
    batch = torch.export.Dim(BATCH)
    axes = ({0: batch}, tuple({0: batch} for _ in step.state_spec))
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            step,
            step.example(),
            dynamo=True,
            dynamic_shapes=axes,
            input_names=step.input_names,
            output_names=step.output_names,
            opset_version=OPSET,
            optimize=False,
            verbose=False,
        )
    assert program is not None
    return program.model


def _simplify(model: ir.Model) -> None:
    """Folds constants and drops what nothing reads.

    Not torch.onnx's own `optimize=True`: its rewrite rules take x + 1e-8 for x + 0, which makes
    the cosine of an empty memory slot 0 / 0.
    """
    fold_constants(model, onnx_shape_inference=True)
    for simplify in (
        common.RemoveUnusedNodesPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
    ):
        simplify(model)


def _strip(model: ir.Model) -> None:
    """Drops all that tells of the exporting process: stack traces, paths, scopes, versions."""
    common.ClearMetadataAndDocStringPass()(model)
    model.producer_name, model.producer_version = "ntm-serve", None
    for value in [*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()]:
        value.metadata_props.clear()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says of its own affairs while it exports."""
    registry = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registry.level
    registry.setLevel(logging.ERROR)  # it reports that torchvision is not installed
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            warnings.filterwarnings("ignore", "# The axis name: batch will not be used")
            yield
    finally:
        registry.setLevel(level)
