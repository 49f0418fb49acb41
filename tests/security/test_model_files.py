"""An ONNX file is data by itself: it brings no weights from elsewhere, and no code."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from service.engine.onnx import OnnxCpu, open_session
from service.engine.runtime import BackendError

CPU = "CPUExecutionProvider"
ADD = helper.make_node("Add", ["x", "w"], ["y"])


def external(location: str, dims: tuple[int, ...] = (4,), length: int = 16) -> TensorProto:
    """A tensor whose data lies elsewhere."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", f"{length}")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def model(nodes: list[Any], **graph: Any) -> bytes:
    """x (4) to y (4)."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy")
    functions = graph.pop("functions", [])
    domains = {node.domain for node in nodes} - {""}
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(name, 1) for name in domains)]
    made = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], **graph),
        opset_imports=opsets, functions=functions, ir_version=8,
    )  # fmt: skip
    return made.SerializeToString()


def placed(location: str) -> dict[str, bytes]:
    """External data in each place of a model that a tensor can stand in."""
    constant = helper.make_node("Constant", [], ["w"])
    constant.attribute.append(helper.make_attribute("value", external(location)))
    floats = TensorProto.FLOAT
    b, c = (helper.make_tensor_value_info(name, floats, [4]) for name in "bc")
    then = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["b"])], "t", [], [b], [external(location)]
    )
    other = helper.make_graph([helper.make_node("Identity", ["x"], ["c"])], "e", [], [c])
    condition = helper.make_tensor("condition", TensorProto.BOOL, [], [True])
    branch = helper.make_node("If", ["condition"], ["y"], then_branch=then, else_branch=other)
    body = [constant, helper.make_node("Add", ["a", "w"], ["o"])]
    function = helper.make_function("d", "F", ["a"], ["o"], body, [helper.make_opsetid("", 17)])
    indices = helper.make_tensor("i", TensorProto.INT64, [4], [0, 1, 2, 3])
    sparse = helper.make_sparse_tensor(external(location), indices, [4])
    product = helper.make_node("MatMul", ["x", "w"], ["y"])
    return {
        "initializer": model([ADD], initializer=[external(location)]),
        "matrix": model([product], initializer=[external(location, (4, 4), 64)]),
        "constant": model([constant, ADD]),
        "branch": model([branch], initializer=[condition]),
        "function": model([helper.make_node("F", ["x"], ["y"], domain="d")], functions=[function]),
        "sparse": model([ADD], sparse_initializer=[sparse]),
    }


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in the working directory, a link beside it, and one above."""
    inside = tmp_path / "inside"
    inside.mkdir()
    for path in (inside / "own.bin", tmp_path / "above.bin"):
        np.arange(64, dtype="<f4").tofile(path)
    (inside / "link.bin").symlink_to(tmp_path / "above.bin")
    monkeypatch.chdir(inside)
    return inside


def test_onnx_runtime_by_itself_reads_from_the_working_directory(weights: Path):
    session = onnxruntime.InferenceSession(placed("own.bin")["matrix"], providers=[CPU])
    (y,) = session.run(None, {"x": np.ones(4, np.float32)})
    assert np.asarray(y).tolist() == [24, 28, 32, 36]  # which is why it is told to look nowhere


@pytest.mark.parametrize(
    "location",
    ["own.bin", "./own.bin", "link.bin", "../above.bin", "none.bin", "/etc/passwd", "/dev/zero",
     "/proc/self/environ", "*/_ORT_MEM_ADDR_/*", "", "http://127.0.0.1/x", "own.bin\0"],
)  # fmt: skip
def test_a_model_whose_data_lies_elsewhere_is_refused(weights: Path, location: str):
    for place, data in [*placed(location).items(), *placed(f"{weights}/{location}").items()]:
        with pytest.raises(BackendError, match="ONNX Runtime does not take the model"):
            open_session(data, 1, CPU)
            pytest.fail(f"{place} was taken")


@pytest.mark.parametrize(
    ("operator", "domain", "attributes"),
    [
        ("Evil", "evil", {}),
        ("PythonOp", "com.microsoft", {"func_name": "os.system"}),
        ("EPContext", "com.microsoft", {"ep_cache_context": "/etc/passwd", "embed_mode": 0}),
        ("EPContext", "com.microsoft", {"ep_cache_context": "libc.so.6", "main_context": 1}),
    ],
)
def test_an_operator_of_somebody_elses_loads_no_code(
    operator: str, domain: str, attributes: dict[str, Any]
):
    node = helper.make_node(operator, ["x"], ["y"], domain=domain, **attributes)
    with pytest.raises(BackendError, match="does not take the model"):
        open_session(model([node]), 1, CPU)


def test_what_is_no_model_is_refused_in_one_line():
    for data in (b"", b"ORTM" + bytes(64), b"\x00" * 64, os.urandom(1000), b"PK\x03\x04" * 20):
        with pytest.raises(BackendError) as caught:
            OnnxCpu(data, (), 1)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000
