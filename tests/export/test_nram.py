"""A Neural Random-Access Machine goes the whole way, exported and served, with no line of the
service changed for it."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import onnx
import pytest

from export.bundle import read_bundle
from export.command import ZOO
from export.manifest import STEP_ONNX, STEP_TORCHSCRIPT, STEP_TRACED_ONNX
from export.parity import Stepper, follow, onnx_stepper, reference, torchscript_stepper
from export.step import StepModule
from export.torchscript import to_torchscript
from model.families import Network, build, load
from model.tape import decode, encode
from tests.bundles import make_bundle
from tests.export.batches import assert_alone_is_as_in_any_batch
from tests.export.test_onnx import open_session
from tests.service.serving import Server, served

# M=7, R=3, H=8: pairwise distinct.
SIZES: dict[str, Any] = {
    "integers": 7,
    "registers": 3,
    "controller": "lstm",
    "controller_size": 8,
}
NAMES = ("soft", "discrete")  # untrained with an LSTM; the zoo's, feed-forward, as committed


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nram")
    make_bundle(
        folder / "soft", name="soft", family="nram", torchscript=True, activation="none", **SIZES
    )
    shutil.copytree(ZOO / "access" / "bundle", folder / "discrete")
    return folder


def step_of(name: str, traced: bool = False) -> StepModule:
    import torch

    torch.manual_seed(1)
    soft = name == "soft"
    network = cast(Network, build("nram", SIZES)) if soft else load(ZOO / "access")[0]
    return StepModule(network, "none", traced)


def steppers(bundles: Path, name: str) -> list[tuple[str, StepModule, Stepper]]:
    """Every artefact, as it runs."""
    bundle, step, traced = read_bundle(bundles / name), step_of(name), step_of(name, traced=True)
    return [
        (STEP_ONNX, step, onnx_stepper(bundle.read(STEP_ONNX), step)),
        (STEP_TRACED_ONNX, traced, onnx_stepper(bundle.read(STEP_TRACED_ONNX), traced)),
        (STEP_TORCHSCRIPT, step, torchscript_stepper(to_torchscript(step), step)),
    ]


def some_state(step: StepModule, batch: int, seed: int) -> dict[str, np.ndarray]:
    """Rows that go on or wait, and distributions that differ from row to row; of a discrete machine
    certain integers."""
    random = np.random.default_rng(seed)
    feeds = {"x": random.integers(0, 2, (batch, 1)).astype(np.float32)}
    for tensor in step.state_spec:
        values = np.exp(2 * random.standard_normal((batch, *tensor.dims)))
        if step.network.discrete and tensor.role != "controller":
            values = values == values.max(axis=-1, keepdims=True)
        feeds[tensor.name] = (values / values.sum(axis=-1, keepdims=True)).astype(np.float32)
    return feeds


@pytest.mark.parametrize("name", NAMES)
def test_every_artefact_is_the_network_over_a_thousand_steps_and_exactly_where_discrete(
    bundles: Path, name: str
) -> None:
    most = 0 if name == "discrete" else 1e-5
    parity = read_bundle(bundles / name).manifest.parity
    for file, step, stepper in steppers(bundles, name):
        difference = follow(step, stepper, file, 1000 if file == STEP_ONNX else 50)
        assert difference.step <= most and np.isfinite(difference.drift)
        assert parity.get(file, 0) <= most


@pytest.mark.parametrize("name", NAMES)
def test_from_any_state_and_at_any_batch_size_a_step_is_the_networks(
    bundles: Path, name: str
) -> None:
    for _, step, stepper in steppers(bundles, name):
        for batch in (1, 2, 5, 17):
            feeds = list(some_state(step, batch, seed=batch).values())
            for want, got in zip(reference(step, feeds), stepper(feeds), strict=True):
                most = 0 if name == "discrete" else 1e-5
                np.testing.assert_allclose(got, want, rtol=0, atol=most)


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_has_no_loop_no_branch_and_no_sum_that_rounds_by_place(
    bundles: Path, name: str
) -> None:
    for file in (STEP_ONNX, STEP_TRACED_ONNX):
        graph = onnx.load_from_string(read_bundle(bundles / name).read(file)).graph
        spent = {node.op_type for node in graph.node}
        assert not spent & {"Loop", "If", "Scan", "CumSum", "CumProd", "ScatterND", "OneHot"}
        assert not spent & {"ReduceSum", "ReduceMean", "Trilu", "Range"}


@pytest.mark.parametrize("name", NAMES)
def test_a_row_alone_equals_the_row_at_every_place_of_a_full_batch_bit_for_bit(
    bundles: Path, name: str
) -> None:
    session, step = open_session(read_bundle(bundles / name), STEP_ONNX), step_of(name)
    feeds, noise = some_state(step, 32, seed=7), some_state(step, 4, seed=8)
    assert_alone_is_as_in_any_batch(session, feeds, noise)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """The zoo's machine, as trained and committed."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copytree(ZOO / "access" / "bundle", folder / "models" / "access")
    with served(folder, folder / "models") as running:
        yield running


def halted_on(client: httpx.Client, cells: list[int], integers: int) -> tuple[list[int], int]:
    """The tape when a session that was created with `cells` has halted, and its steps."""
    tape = encode(cells, integers, integers).tolist()
    made = client.post("/v1/models/access/sessions", json={"state": {"tape": tape}})
    assert made.status_code == 201, made.text
    path = f"/v1/sessions/{made.json()['id']}"
    steps = 0
    while steps < 20:
        told, steps = client.post(f"{path}/steps", json={"inputs": [[1]]}).json(), steps + 1
        if told["outputs"][0][1] >= 0.5:
            break
    shown = {part["name"]: part for part in client.get(f"{path}/memory").json()["state"]}
    assert shown["tape"]["role"] == "memory" and shown["registers"]["role"] == "register"
    return decode(np.array(shown["tape"]["data"], np.float32)), steps


def test_a_served_session_is_given_a_tape_steps_to_its_halt_and_has_the_answer_on_it(
    server: Server,
) -> None:
    with server.client() as client:
        model = client.get("/v1/models/access").json()
        integers = model["state"][0]["dims"][0]
        form = model["form"]
        assert form["kind"] == "tape" and form["state"] == model["state"][0]["name"] == "tape"
        array = np.random.default_rng(1).integers(1, integers, 50).tolist()
        for k in (0, 7, 49):
            cells = [k, *array, 0]
            answer, steps = halted_on(client, cells, integers)
            rest = [0] * (integers - len(cells))
            assert answer == [array[k], *array, 0, *rest] and steps == 3


def test_further_rows_leave_a_halted_session_as_it_is_and_a_wrong_tape_is_refused(
    server: Server,
) -> None:
    with server.client() as client:
        integers = client.get("/v1/models/access").json()["state"][0]["dims"][0]
        tape = encode([1, 5, 6, 0], integers, integers).tolist()
        made = client.post("/v1/models/access/sessions", json={"state": {"tape": tape}})
        path = f"/v1/sessions/{made.json()['id']}"
        client.post(f"{path}/steps", json={"inputs": [[1]] * 3})
        before = client.get(f"{path}/memory").json()["state"]
        told = client.post(f"{path}/steps", json={"inputs": [[1]] * 5}).json()["outputs"]
        assert told == [[0, 1, 0]] * 5
        assert client.get(f"{path}/memory").json()["state"] == before
        short = client.post("/v1/models/access/sessions", json={"state": {"tape": tape[:-1]}})
        assert short.status_code == 400 and "state.tape" in short.text
