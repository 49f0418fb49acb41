from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from export.bundle import STEP_ONNX, STEP_TRACED_ONNX, Bundle, read_bundle

REPOSITORY = Path(__file__).resolve().parents[2]
BOTH = [STEP_ONNX, STEP_TRACED_ONNX]
# The padding at which ONNX Runtime's CPU kernels treat every row alike.
MULTIPLE = 4


@pytest.fixture(scope="module")
def small(small_bundle: Path) -> Bundle:
    return read_bundle(small_bundle)


def open_session(bundle: Bundle, file: str) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        bundle.read(file), options, providers=["CPUExecutionProvider"]
    )


def random_feeds(bundle: Bundle, batch: int, seed: int) -> dict[str, np.ndarray]:
    """Rows of bits and states that differ from row to row; weights sum to 1."""
    random = np.random.default_rng(seed)
    feeds = {"x": random.integers(0, 2, (batch, *bundle.manifest.input.dims)).astype(np.float32)}
    for tensor in bundle.manifest.state:
        values = random.standard_normal((batch, *tensor.dims))
        if tensor.role in ("read_weights", "write_weights"):
            values = np.exp(3 * values) / np.exp(3 * values).sum(-1, keepdims=True)
        feeds[tensor.name] = values.astype(np.float32)
    return feeds


def dims(value: onnx.ValueInfoProto) -> list[str | int]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("file", BOTH)
def test_inputs_and_outputs_are_named_as_the_manifest_says_with_a_batch_of_any_size(
    small: Bundle, file: str
) -> None:
    graph = onnx.load_from_string(small.read(file)).graph
    manifest = small.manifest
    state = [(tensor.name, ["batch", *tensor.dims]) for tensor in manifest.state]
    following = [(f"{name}_next", shape) for name, shape in state]
    trace = [(tensor.name, ["batch", *tensor.dims]) for tensor in manifest.trace]
    assert [(value.name, dims(value)) for value in graph.input] == [("x", ["batch", 6]), *state]
    assert [(value.name, dims(value)) for value in graph.output] == [
        ("y", ["batch", 4]),
        *following,
        *(trace if file == STEP_TRACED_ONNX else []),
    ]


@pytest.mark.parametrize("file", BOTH)
@pytest.mark.parametrize("batch", [1, 2, 3, 5, 32])
def test_every_batch_size_runs_and_gives_what_its_rows_give_alone(
    small: Bundle, file: str, batch: int
) -> None:
    session = open_session(small, file)
    feeds = random_feeds(small, batch, seed=batch)
    together = session.run(None, feeds)
    for row in range(batch):
        alone = session.run(None, {name: value[row : row + 1] for name, value in feeds.items()})
        for whole, one in zip(together, alone, strict=True):
            np.testing.assert_allclose(whole[row], one[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("file", BOTH)
def test_a_row_alone_equals_the_row_at_every_place_of_a_full_batch_bit_for_bit(
    small: Bundle, file: str
) -> None:
    session = open_session(small, file)
    feeds = random_feeds(small, 32, seed=7)
    noise = random_feeds(small, MULTIPLE, seed=8)
    for row in range(32):
        alone = {name: value.copy() for name, value in noise.items()}
        for name in alone:
            alone[name][0] = feeds[name][row]
        want = session.run(None, alone)
        for size in (8, 12, 32):
            place = (7 * row) % size
            order = np.roll(np.arange(32), place - row)[:size]
            assert order[place] == row
            got = session.run(None, {name: value[order] for name, value in feeds.items()})
            for expected, actual in zip(want, got, strict=True):
                assert expected[0].tobytes() == actual[place].tobytes()


def test_the_traced_step_goes_where_the_plain_one_goes_bit_for_bit(small: Bundle) -> None:
    plain, traced = open_session(small, STEP_ONNX), open_session(small, STEP_TRACED_ONNX)
    feeds = random_feeds(small, 12, seed=9)
    for row in range(64):
        feeds["x"] = random_feeds(small, 12, seed=row)["x"]
        want, got = plain.run(None, feeds), traced.run(None, feeds)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(want, got, strict=False))
        assert len(got) == len(want) + len(small.manifest.trace)
        feeds |= dict(zip(list(feeds)[1:], want[1:], strict=True))


@pytest.mark.parametrize("file", BOTH)
def test_a_state_and_a_row_of_zeros_give_finite_numbers(small: Bundle, file: str) -> None:
    feeds = {name: 0 * value for name, value in random_feeds(small, 3, seed=1).items()}
    for output in open_session(small, file).run(None, feeds):
        assert np.isfinite(output).all()


@pytest.mark.parametrize("file", BOTH)
def test_a_graph_holds_its_weights_and_tells_nothing_of_where_it_was_made(
    small: Bundle, file: str
) -> None:
    data = small.read(file)
    model = onnx.load_from_string(data)
    nodes = model.graph.node
    assert not re.search(rb"/(work|home|root|tmp|usr|opt)/|site-packages|\.py\b", data)
    assert str(REPOSITORY).encode() not in data
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert not any(node.doc_string or node.metadata_props for node in nodes)
    assert not model.metadata_props and not model.doc_string and not model.producer_version
    assert {entry.domain for entry in model.opset_import} == {""}


@pytest.mark.parametrize("file", BOTH)
def test_a_graph_spends_no_node_on_shapes_constants_or_copies(small: Bundle, file: str) -> None:
    graph = onnx.load_from_string(small.read(file)).graph
    spent = {node.op_type for node in graph.node}
    assert not spent & {"Shape", "Expand", "Cast", "Constant", "Identity", "Where", "Loop", "If"}


@pytest.mark.parametrize("file", BOTH)
def test_a_graph_has_no_sum_that_rounds_by_where_in_memory_a_row_begins(
    small: Bundle, file: str
) -> None:
    graph = onnx.load_from_string(small.read(file)).graph
    assert not {node.op_type for node in graph.node} & {"ReduceSum", "ReduceMean", "Pow"}


def test_another_process_exports_the_same_bytes(small_bundle: Path) -> None:
    program = """
import sys
from export.onnx import to_onnx
from tests.export.conftest import small_step
sys.stdout.buffer.write(to_onnx(small_step(traced=True)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env={"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "7"},
        stdout=subprocess.PIPE,
        check=True,
    )
    assert done.stdout == (small_bundle / STEP_TRACED_ONNX).read_bytes()
