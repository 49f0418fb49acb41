"""The step as ONNX: weights embedded, dynamic batch, the same bytes for the same weights."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Generator
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes import common as passes
from onnxscript.optimizer import fold_constants
from onnxscript.rewriter import RewritePass, pattern
from onnxscript.rewriter.rules import common as rules

from export.step import StepModule

BATCH = "batch"
OPSET = 20


def to_onnx(step: StepModule) -> bytes:
    """The step as a checked ONNX model. Inputs and outputs are named as the step names them."""
    with _quiet():
        model = _trace(step)
        _simplify(model)
    _strip(model)
    return _encode(model)


def without_trace(model: bytes, step: StepModule) -> bytes:
    """`step`, which tells no trace, from the model of the one that tells it: the same nodes."""
    graph = ir.from_proto(onnx.load_from_string(model))
    del graph.graph.outputs[len(step.output_names) :]
    passes.RemoveUnusedNodesPass()(graph)
    return _encode(graph)


def _trace(step: StepModule) -> ir.Model:
    batch = torch.export.Dim(BATCH)
    axes = ({0: batch}, tuple({0: batch} for _ in step.state_spec))
    with torch.no_grad():
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


def _encode(model: ir.Model) -> bytes:
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString(deterministic=True)


def _simplify(model: ir.Model) -> None:
    """Fewer nodes that compute the same: at small batches a node costs more than its arithmetic.

    The rules are chosen one by one. torch.onnx's `optimize=True` takes all, and one of them takes
    x + 1e-8 for x + 0, which makes the cosine of an empty memory slot 0 / 0.
    """
    fold_constants(model, onnx_shape_inference=True)
    ours = [
        pattern.RewriteRule(_guarded_softplus, _softplus),
        pattern.RewriteRule(_normalised_power, _softmax_of_logarithm, _over_the_last_axis),
        pattern.RewriteRule(_outer_product, _matrix_product, _of_vectors),
    ]
    sums = [pattern.RewriteRule(_sum, _product_with_ones, _over_a_last_axis_of_known_size)]
    exact = [
        rules.mul_by_1_rule,
        rules.div_by_1_rule,
        rules.collapse_slice_rule,
        rules.materialize_reshape_shape_rule,
    ]
    for simplify in (
        RewritePass(exact),
        passes.IdentityEliminationPass(),
        RewritePass(ours),
        RewritePass(sums),  # those that are left
        passes.RemoveUnusedNodesPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.OutputFixPass(),
    ):
        simplify(model)


def _guarded_softplus(op: Any, x: Any) -> Any:
    return op.Where(op.Greater(x, 20.0), x, op.Softplus(x))


def _softplus(op: Any, x: Any) -> Any:
    """ONNX Runtime's own Softplus does not overflow, so torch's guard above 20 is not needed."""
    return op.Softplus(x)


def _normalised_power(op: Any, x: Any, exponent: Any, axes: Any) -> Any:
    power = op.Pow(x, exponent)
    return op.Div(power, op.ReduceSum(power, axes, keepdims=1))


def _softmax_of_logarithm(op: Any, x: Any, exponent: Any, axes: Any) -> Any:
    """x^g / sum x^g = softmax(g log x) over the last axis, for x >= 0 as a power needs it.

    ONNX Runtime sums from the first aligned address on, so where a row's size is no multiple of
    four a ReduceSum rounds by the row's place in the batch. Softmax does not, and is faster.
    """
    return op.Softmax(op.Mul(exponent, op.Log(x)), axis=-1)


def _over_the_last_axis(_: Any, axes: ir.Value, **__: Any) -> bool:
    return _constant(axes) == [-1]


def _outer_product(op: Any, a: Any, b: Any, last: Any, middle: Any) -> Any:
    return op.Mul(op.Unsqueeze(a, last), op.Unsqueeze(b, middle))


def _matrix_product(op: Any, a: Any, b: Any, last: Any, middle: Any) -> Any:
    """The same products: ONNX Runtime takes longer where it broadcasts both sides."""
    return op.MatMul(op.Unsqueeze(a, last), op.Unsqueeze(b, middle))


def _of_vectors(_: Any, a: ir.Value, b: ir.Value, last: ir.Value, middle: ir.Value) -> bool:
    vectors = all(value.shape is not None and len(value.shape) == 2 for value in (a, b))
    return vectors and _constant(last) == [2] and _constant(middle) == [1]


def _sum(op: Any, x: Any, axes: Any) -> Any:
    return op.ReduceSum(x, axes, keepdims=1)


def _product_with_ones(op: Any, x: ir.Value, **_: Any) -> Any:
    """The same sum, which does not round by the row's place in the batch as a ReduceSum does."""
    size = _last_size(x)
    assert size is not None
    return op.MatMul(x, op.Constant(value=ir.tensor(np.ones((size, 1), np.float32))))


def _over_a_last_axis_of_known_size(_: Any, x: ir.Value, axes: ir.Value) -> bool:
    known = _last_size(x) is not None and x.dtype == ir.DataType.FLOAT
    return known and _constant(axes) in ([-1], [len(x.shape or ()) - 1])


def _last_size(x: ir.Value) -> int | None:
    size = x.shape[-1] if x.shape else None
    return size if isinstance(size, int) else None


def _constant(value: ir.Value) -> list[int] | None:
    return None if value.const_value is None else value.const_value.numpy().tolist()


def _strip(model: ir.Model) -> None:
    """Drops all that tells of the exporting process: stack traces, paths, scopes, versions."""
    passes.ClearMetadataAndDocStringPass()(model)
    model.producer_name, model.producer_version = "ntm-serve", None
    for value in [*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()]:
        value.metadata_props.clear()


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Without what the exporter says of its own affairs: no torchvision, no folding of a Split."""
    talkers = [
        logging.getLogger("torch.onnx._internal.exporter._registration"),
        logging.getLogger("onnxscript.optimizer._constant_folding"),
    ]
    levels = [talker.level for talker in talkers]
    for talker in talkers:
        talker.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            warnings.filterwarnings("ignore", "# The axis name: batch will not be used")
            yield
    finally:
        for talker, level in zip(talkers, levels, strict=True):
            talker.setLevel(level)
