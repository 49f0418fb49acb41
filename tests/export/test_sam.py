"""A SAM goes the whole way, exported and served, with no line of the service changed for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.bundle import read_bundle
from export.command import main as export
from export.errors import BundleError
from export.manifest import STEP_ONNX, STEP_TORCHSCRIPT
from export.parity import onnx_stepper, reference, torchscript_stepper
from export.step import StepModule
from export.triton import write_repository
from model.families import load
from model.rows import next_state, put
from model.sizes import parse_changes
from tests.bundles import make_bundles, make_entry, make_network
from tests.export.artefacts import assert_all_are_the_network
from tests.service.serving import Server, served

# X=9, Y=10, N=31, M=6, H=8, R=2, K=3: pairwise distinct.
SIZES: dict[str, Any] = {
    "input_size": 9,
    "output_size": 10,
    "memory_size": 31,
    "memory_width": 6,
    "controller_size": 8,
    "read_heads": 2,
    "reads": 3,
}
NAMES = {"exact": SIZES, "indexed": SIZES | {"index": 4, "room": 5}}
STORE = "sessions.db"


def step_of(name: str, traced: bool = False) -> StepModule:
    return StepModule(make_network("sam", **NAMES[name]), "sigmoid", traced)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of each: compared with all slots, and found by hashes."""
    return make_bundles(tmp_path_factory.mktemp("sam"), "sam", NAMES)


def some_state(step: StepModule, batch: int, seed: int) -> list[np.ndarray]:
    """Rows of bits, and states as a client may make them up: also slots that are none."""
    random = np.random.default_rng(seed)
    feeds: list[np.ndarray] = [random.integers(0, 2, (batch, step.input_size)).astype(np.float32)]
    for tensor in step.state_spec:
        dims = (batch, *tensor.dims)
        if tensor.dtype == "int64":
            feeds.append(random.integers(-9, 40, dims))
        else:
            feeds.append(random.standard_normal(dims).astype(np.float32))
    return feeds


@pytest.mark.parametrize("name", NAMES)
def test_every_artefact_is_the_network_over_hundreds_of_steps(bundles: Path, name: str) -> None:
    """Not a thousand: the cell of an untrained LSTM grows, and 1e-5 of 500 is past float32."""
    assert_all_are_the_network(
        read_bundle(bundles / name), lambda traced: step_of(name, traced), 300
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", [1, 2, 5, 17])
def test_from_any_state_and_at_any_batch_size_a_step_is_the_networks(
    bundles: Path, name: str, batch: int
) -> None:
    bundle, step = read_bundle(bundles / name), step_of(name)
    feeds = some_state(step, batch, seed=batch)
    wanted = reference(step, feeds)
    for stepper, file in ((onnx_stepper, STEP_ONNX), (torchscript_stepper, STEP_TORCHSCRIPT)):
        got = stepper(bundle.read(file), step)(feeds)
        for name, want, have in zip(step.output_names, wanted, got, strict=True):
            np.testing.assert_allclose(have, want, rtol=0, atol=1e-5, err_msg=name)
            if name.endswith("_indices"):
                rows = next(t for t in step.state_spec if name.startswith(t.name)).dims[0]
                assert have.min() >= 0 and have.max() < rows


@pytest.mark.parametrize("name", NAMES)
def test_the_manifest_tells_what_is_updated_sparsely_and_how_many_rows_a_step_tells(
    bundles: Path, name: str
) -> None:
    state = read_bundle(bundles / name).manifest.state
    sparse = {tensor.name: tensor.rows for tensor in state if tensor.update == "sparse"}
    written = 2 * 3 + 1  # R K slots that were read, and the least recently accessed one
    wanted = {"memory": written, "last_access": written + 6}
    assert sparse == wanted | ({"cells": 4 * written} if name == "indexed" else {})


def test_the_graph_tells_rows_and_no_whole_memory(bundles: Path) -> None:
    step = step_of("indexed")
    outputs = dict(zip(step.output_names, reference(step, some_state(step, 3, 1)), strict=True))
    assert outputs["memory_rows"].shape == (3, 7, 6) and "memory_next" not in outputs
    assert outputs["memory_indices"].shape == (3, 7) and outputs["cells_rows"].shape == (3, 28)
    larger = StepModule(make_network("sam", **NAMES["indexed"] | {"memory_size": 500}), "sigmoid")
    told = reference(larger, some_state(larger, 3, 1))
    assert [part.shape for part in told[1:3]] == [(3, 7, 6), (3, 7)]


def test_triton_which_keeps_whole_tensors_is_refused(bundles: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="'memory' is updated sparsely"):
        write_repository(read_bundle(bundles / "exact"), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def server(bundles: Path, tmp_path: Path) -> Generator[Server]:
    store = f"sqlite:///{tmp_path / STORE}"
    with served(tmp_path, bundles, NTM_STORE=store) as running:
        yield running


class Twin:
    """What a session should be, from the network alone."""

    def __init__(self, name: str) -> None:
        self.step = step_of(name)
        self.state = [part.numpy()[None] for part in self.step.initial_state()]

    def stepped(self, rows: np.ndarray) -> list[np.ndarray]:
        outputs: list[np.ndarray] = []
        for row in rows:
            y, *told = reference(self.step, [row[None], *self.state])
            self.state = next_state(self.step.state_spec, self.state, told)
            outputs.append(y[0])
        return outputs


def test_a_served_session_is_the_network_through_fork_rewind_and_a_kill(
    server: Server, bundles: Path, tmp_path: Path
) -> None:
    name = "indexed"
    rows = np.random.default_rng(4).integers(0, 2, (30, 9)).astype(np.float32)
    twin, forked = Twin(name), Twin(name)
    with server.client() as client:

        def step(session: str, some: np.ndarray, own: Twin) -> None:
            sent = client.post(f"/v1/sessions/{session}/steps", json={"inputs": some.tolist()})
            assert sent.status_code == 200, sent.text
            np.testing.assert_allclose(sent.json()["outputs"], own.stepped(some), rtol=0, atol=1e-5)

        for path, body in (
            (f"/v1/models/{name}/sessions", {"id": "one"}),
            ("/v1/sessions/one/fork", {"id": "two"}),
        ):
            assert client.post(path, json=body).status_code == 201
        step("one", rows[:11], twin)
        step("two", rows[11:15], forked)
        assert client.post("/v1/sessions/one/fork", json={"id": "three"}).status_code == 201
        step("one", rows[11:25], twin)
        back = client.post("/v1/sessions/one/restore", json={"step": 13})
        assert back.status_code == 200, back.text
        twin = Twin(name)
        twin.stepped(rows[:13])
        step("one", rows[20:22], twin)
        seen = client.get("/v1/sessions/one/explain")
        assert seen.status_code == 200, seen.text
        memory = client.get("/v1/sessions/one/memory").json()["state"]
        for tensor, part in zip(memory, twin.state, strict=True):
            np.testing.assert_allclose(
                np.reshape(tensor["data"], tensor["dims"]), part[0], rtol=0, atol=1e-5
            )
    for child in server.children("service.engine.process"):
        os.kill(child, signal.SIGKILL)
    server.process.kill()
    server.process.wait(20)
    with (
        served(tmp_path, bundles, NTM_STORE=f"sqlite:///{tmp_path / STORE}") as again,
        again.client() as client,
    ):
        for session, own in (("one", twin), ("two", forked)):
            sent = client.post(f"/v1/sessions/{session}/steps", json={"inputs": rows[:5].tolist()})
            assert sent.status_code == 200, sent.text
            wanted = own.stepped(rows[:5])
            np.testing.assert_allclose(sent.json()["outputs"], wanted, rtol=0, atol=1e-5)
        third = Twin(name)
        third.stepped(rows[:11])
        sent = client.post("/v1/sessions/three/steps", json={"inputs": rows[:3].tolist()})
        np.testing.assert_allclose(
            sent.json()["outputs"], third.stepped(rows[:3]), rtol=0, atol=1e-5
        )


def test_the_weights_of_a_small_memory_are_served_at_65536_slots(tmp_path: Path) -> None:
    """A dozen rows of three sessions, one a fork, on a memory 64 times that of the entry."""
    entry = make_entry(tmp_path / "entry", bundle=False, family="sam", **SIZES)
    more = "memory_size=65536,index=2,room=16"
    folder = tmp_path / "models" / "copy"
    folder.parent.mkdir()
    assert export([str(entry), "--set", more, "--out", str(folder)]) == 0
    step = StepModule(load(entry, parse_changes(more))[0], "sigmoid")
    spec = read_bundle(folder).manifest.state
    assert spec == step.state_spec and spec[0].dims == (65_536, 6)
    rows = np.random.default_rng(4).integers(0, 2, (12, 9)).astype(np.float32)
    wanted, state = [], [part.numpy()[None] for part in step.initial_state()]
    for row in rows:
        y, *told = reference(step, [row[None], *state])
        state = put(spec, state, told)
        wanted.append(y[0])
    with served(tmp_path, folder.parent) as running, running.client() as client:
        for session in ("one", "two"):
            made = client.post("/v1/models/copy/sessions", json={"id": session})
            assert made.status_code == 201, made.text

        def check(session: str, begin: int, end: int) -> None:
            body = {"inputs": rows[begin:end].tolist()}
            sent = client.post(f"/v1/sessions/{session}/steps", json=body)
            assert sent.status_code == 200, sent.text
            np.testing.assert_allclose(sent.json()["outputs"], wanted[begin:end], rtol=0, atol=1e-5)

        check("one", 0, 5)
        check("two", 0, 3)
        assert client.post("/v1/sessions/one/fork", json={"id": "three"}).status_code == 201
        check("one", 5, 12)
        check("three", 5, 9)
        check("two", 3, 12)
