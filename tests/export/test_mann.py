"""A MANN goes the whole way, exported and served, with no line of the service changed for it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
import torch

from export.bundle import read_bundle
from export.manifest import STEP_ONNX, STEP_TORCHSCRIPT, STEP_TRACED_ONNX
from export.pack import pack
from export.parity import onnx_stepper, reference, torchscript_stepper
from export.step import StepModule
from model.families import Card, Network, build
from model.tasks.few_shot import FewShot
from tests.export.artefacts import assert_all_are_the_network
from tests.export.batches import assert_alone_is_as_in_any_batch
from tests.export.test_onnx import open_session
from tests.service.serving import Server, served

TASK = FewShot(side=10)
# X=105, Y=5, N=7, M=6, H=8, R=2: pairwise distinct.
SIZES: dict[str, Any] = {
    "input_size": TASK.input_size,
    "output_size": TASK.output_size,
    "memory_size": 7,
    "memory_width": 6,
    "controller_size": 8,
    "read_heads": 2,
    # Usage forgets soon: 4 weights a step on 7 slots come to 400 at 0.99, and float32 has steps of
    # 1.5e-5 above 128, more than an artefact may differ by.
    "usage_decay": 0.95,
}
SHARP = SIZES | {"key_strength": True, "separate_add": True}
NAMES = {"paper": SIZES, "sighted": SHARP | {"image_side": TASK.side}}


def network_of(name: str) -> Network:
    torch.manual_seed(1)
    return cast(Network, build("mann", NAMES[name]))


def step_of(name: str, traced: bool = False) -> StepModule:
    return StepModule(network_of(name), TASK.activation, traced)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of each: as the paper has it, and with all that it has not and eyes."""
    folder = tmp_path_factory.mktemp("mann")
    for name, sizes in NAMES.items():
        card = Card(
            name=name,
            version="1",
            family="mann",
            task=TASK.name,
            network=sizes,
            activation=TASK.activation,
            form=TASK.form,
            command="none: untrained",
            seed=1,
        )
        (folder / name).mkdir()
        pack(network_of(name), card, folder / name, torchscript=True)
    return folder


def some_state(step: StepModule, batch: int, seed: int) -> dict[str, np.ndarray]:
    """Rows of bits, and states as a MANN may have them, differing from row to row."""
    random = np.random.default_rng(seed)
    feeds = {"x": random.integers(0, 2, (batch, step.input_size)).astype(np.float32)}
    for tensor in step.state_spec:
        values = random.standard_normal((batch, *tensor.dims))
        if tensor.role not in ("memory", "read_vectors", "controller"):
            values = np.exp(3 * values) / np.exp(3 * values).sum(-1, keepdims=True)
        feeds[tensor.name] = values.astype(np.float32)
    return feeds


@pytest.mark.parametrize("name", NAMES)
def test_every_artefact_is_the_network_over_a_thousand_steps(bundles: Path, name: str) -> None:
    assert_all_are_the_network(read_bundle(bundles / name), lambda traced: step_of(name, traced))


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


def test_a_program_of_torch_export_is_the_network_too() -> None:
    step = step_of("sighted")
    batch = torch.export.Dim("batch")
    axes = ({0: batch}, tuple({0: batch} for _ in step.state_spec))
    program: Any = torch.export.export(step, step.example(), dynamic_shapes=axes).module()
    feeds = [torch.from_numpy(part) for part in some_state(step, 5, seed=2).values()]
    for want, got in zip(step(*feeds), program(*feeds), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_has_no_sort_and_no_sum_that_rounds_by_place(bundles: Path, name: str) -> None:
    for file in (STEP_ONNX, STEP_TRACED_ONNX):
        graph = onnx.load_from_string(read_bundle(bundles / name).read(file)).graph
        spent = {node.op_type for node in graph.node}
        assert not spent & {"TopK", "CumSum", "NonZero", "Scatter", "Loop", "If", "OneHot"}
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
def test_a_session_that_was_shown_drawings_names_the_next_as_the_network_does(
    server: Server, name: str
) -> None:
    """A client that knows nothing but the manifest: drawings one by one, each one's label told
    with the next, as the form has it."""
    shown = TASK.drawn_for("test").at_length(torch.Generator().manual_seed(4), 1, 2)
    drawings = shown.inputs[0, :, : TASK.side**2].numpy()
    labels = shown.targets[0].argmax(dim=1).tolist()
    step = step_of(name)
    state = [part.numpy()[None] for part in step.initial_state()]
    with server.client() as client:
        form = client.get(f"/v1/models/{name}").json()["form"]
        assert form["kind"] == "glyph" and (form["height"], form["width"]) == (10, 10)
        made = client.post(f"/v1/models/{name}/sessions", json={})
        assert made.status_code == 201, made.text
        path = f"/v1/sessions/{made.json()['id']}"
        answers: list[int] = []
        told = [0.0] * form["labels"]
        for drawing, label in zip(drawings, labels, strict=True):
            row = [*drawing.tolist(), *told]
            answer = client.post(f"{path}/steps", json={"inputs": [row]}).json()["outputs"][0]
            y, *state = reference(step, [np.array([row], np.float32), *state])
            np.testing.assert_allclose(answer, y[0], rtol=0, atol=1e-5)
            assert sum(answer) == pytest.approx(1, abs=1e-5)
            answers.append(int(np.argmax(answer)))
            told = np.eye(form["labels"])[label].tolist()
        memory = client.get(f"{path}/memory").json()
    wanted = [int(row.argmax()) for row in cast(Any, network_of(name))(shown.inputs)[0]]
    assert answers == wanted and memory["step"] == 10
    by_role = {tensor["role"]: tensor for tensor in memory["state"]}
    for tensor, part in zip(step.state_spec, state, strict=True):
        if tensor.role in ("memory", "usage", "read_weights", "write_weights"):
            got = np.array(by_role[tensor.role]["data"], np.float32).reshape(tensor.dims)
            np.testing.assert_allclose(got, part[0], rtol=0, atol=1e-5)
