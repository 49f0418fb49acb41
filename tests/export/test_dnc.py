"""A DNC goes the whole way, exported and served, with no line of the service changed for it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest

from export.bundle import read_bundle
from export.manifest import STEP_ONNX, STEP_TORCHSCRIPT, STEP_TRACED_ONNX
from export.parity import Arrays, onnx_stepper, reference, torchscript_stepper
from export.step import StepModule
from model import usage
from model.families import Network, build
from tests.bundles import make_bundles
from tests.export.batches import assert_alone_is_as_in_any_batch
from tests.export.strays import EDGE, FEW, strays
from tests.export.test_onnx import open_session
from tests.service.serving import Server, served

# X=6, Y=4, N=7, M=5, H=8, R=2: pairwise distinct.
SIZES: dict[str, Any] = {
    "input_size": 6,
    "output_size": 4,
    "memory_size": 7,
    "memory_width": 5,
    "controller_size": 8,
    "read_heads": 2,
}
CURED = SIZES | {"mask_content": True, "erase_freed": True, "sharpen_links": True}
NAMES = {"plain": SIZES, "cured": CURED}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of each: without a cure and with all."""
    return make_bundles(tmp_path_factory.mktemp("dnc"), "dnc", NAMES)


def step_of(name: str, traced: bool = False) -> StepModule:
    import torch

    torch.manual_seed(1)
    return StepModule(cast(Network, build("dnc", NAMES[name])), "sigmoid", traced)


def some_state(step: StepModule, batch: int, seed: int) -> dict[str, np.ndarray]:
    """Rows of bits, and states as a DNC may have them, differing from row to row."""
    random = np.random.default_rng(seed)
    feeds = {"x": random.integers(0, 2, (batch, step.input_size)).astype(np.float32)}
    for tensor in step.state_spec:
        values = random.standard_normal((batch, *tensor.dims))
        if tensor.role not in ("memory", "read_vectors", "controller"):
            values = np.exp(3 * values) / np.exp(3 * values).sum(-1, keepdims=True)
        if tensor.role == "link":
            values = values / tensor.dims[0]
        feeds[tensor.name] = values.astype(np.float32)
    return feeds


@pytest.mark.parametrize("name", NAMES)
def test_over_a_thousand_steps_every_artefact_is_the_network_but_where_a_usage_is_at_an_edge(
    bundles: Path, name: str
) -> None:
    bundle = read_bundle(bundles / name)
    steppers = (
        (step_of(name), onnx_stepper, STEP_ONNX),
        (step_of(name, traced=True), onnx_stepper, STEP_TRACED_ONNX),
        (step_of(name), torchscript_stepper, STEP_TORCHSCRIPT),
    )
    for step, stepper, file in steppers:
        found, compared = strays(step, stepper(bundle.read(file), step))
        for stray in found:
            assert stray.from_edge <= EDGE and stray.usage <= 1e-5, (file, stray)
        assert compared == 6000 and len(found) <= FEW * compared, (file, found)
        assert bundle.manifest.parity[file] <= 1e-5 and bundle.manifest.drift[file] <= 1e-3


def test_a_row_that_differs_though_no_usage_is_at_an_edge_is_told_as_such() -> None:
    step = step_of("plain")

    def itself(inputs: Arrays) -> Arrays:
        return reference(step, inputs)

    def off(inputs: Arrays) -> Arrays:
        y, *state = itself(inputs)
        y[2::3] += np.float32(1.1e-5)
        return [y, *state]

    assert strays(step, itself, steps=20) == ([], 120)
    found, _ = strays(step, off, steps=20)
    assert len(found) == 40 and all(stray.where.endswith(("2: y", "5: y")) for stray in found)
    assert sum(stray.from_edge > EDGE for stray in found) >= 38


def test_an_artefact_whose_grains_end_a_little_earlier_differs_only_where_a_usage_is_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = step_of("plain")

    def other(inputs: Arrays) -> Arrays:
        with monkeypatch.context() as patch:
            patch.setattr(usage, "GRAIN", usage.GRAIN * (1 - 1e-4))
            return reference(step, inputs)

    found, _ = strays(step, other, steps=100)
    assert found and all(stray.from_edge <= 1e-4 and stray.usage == 0 for stray in found)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", [1, 2, 5, 17])
def test_from_any_state_and_at_any_batch_size_a_step_is_the_networks(
    bundles: Path, name: str, batch: int
) -> None:
    bundle, step = read_bundle(bundles / name), step_of(name)
    feeds = list(some_state(step, batch, seed=batch).values())
    wanted = reference(step, feeds)
    for stepper, file in ((onnx_stepper, STEP_ONNX), (torchscript_stepper, STEP_TORCHSCRIPT)):
        for want, got in zip(wanted, stepper(bundle.read(file), step)(feeds), strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_has_no_sort_no_product_along_slots_and_no_sum_that_rounds_by_place(
    bundles: Path, name: str
) -> None:
    for file in (STEP_ONNX, STEP_TRACED_ONNX):
        graph = onnx.load_from_string(read_bundle(bundles / name).read(file)).graph
        spent = {node.op_type for node in graph.node}
        assert not spent & {"TopK", "CumSum", "CumProd", "ReduceProd", "Scatter", "Loop", "If"}
        assert not spent & {"ReduceSum", "ReduceMean", "Pow", "Shape", "Expand", "Constant"}


@pytest.mark.parametrize("name", NAMES)
def test_a_row_alone_equals_the_row_at_every_place_of_a_full_batch_bit_for_bit(
    bundles: Path, name: str
) -> None:
    session, step = open_session(read_bundle(bundles / name), STEP_ONNX), step_of(name)
    feeds, noise = some_state(step, 32, seed=7), some_state(step, 4, seed=8)
    assert_alone_is_as_in_any_batch(session, feeds, noise)


@pytest.fixture(scope="module")
def server(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    with served(tmp_path_factory.mktemp("server"), bundles) as running:
        yield running


@pytest.mark.parametrize("name", NAMES)
def test_a_served_session_answers_as_the_network_and_shows_its_memory_by_role(
    server: Server, name: str
) -> None:
    step = step_of(name)
    rows = np.random.default_rng(3).integers(0, 2, (9, 6)).astype(np.float32)
    state = [part.numpy()[None] for part in step.initial_state()]
    wanted: list[np.ndarray] = []
    for row in rows:
        y, *state = reference(step, [row[None], *state])
        wanted.append(y[0])
    with server.client() as client:
        made = client.post(f"/v1/models/{name}/sessions", json={})
        assert made.status_code == 201, made.text
        path = f"/v1/sessions/{made.json()['id']}"
        told = [
            client.post(f"{path}/steps", json={"inputs": part.tolist()}).json()["outputs"]
            for part in (rows[:1], rows[1:4], rows[4:])
        ]
        shown = client.get(f"{path}/memory").json()
        model = client.get(f"/v1/models/{name}").json()
    np.testing.assert_allclose(np.concatenate(told), wanted, rtol=0, atol=1e-5)
    assert shown["step"] == 9 and model["family"] == "dnc"
    by_role = {tensor["role"]: tensor for tensor in shown["state"]}
    for tensor, part in zip(step.state_spec, state, strict=True):
        if tensor.role in ("memory", "usage", "link", "precedence", "write_weights"):
            got = np.array(by_role[tensor.role]["data"], np.float32).reshape(tensor.dims)
            np.testing.assert_allclose(got, part[0], rtol=0, atol=1e-5)
