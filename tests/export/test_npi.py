"""An NPI goes the whole way, exported and served, with no line of the service changed for it."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
import torch

from export.bundle import Bundle, read_bundle
from export.command import ZOO
from export.manifest import STEP_ONNX, STEP_TORCHSCRIPT, STEP_TRACED_ONNX
from export.parity import follow, onnx_stepper, reference, torchscript_stepper
from export.step import StepModule
from export.torchscript import to_torchscript
from model.families import Network, build, load
from model.npi_interpreter import trace
from model.npi_layout import LAYOUTS
from model.npi_numbers import (
    call_tree,
    digits_of,
    number_on,
    pad_of,
    ticks,
    typed_columns,
    typed_rows,
)
from model.tasks.programs import PROGRAMS
from tests.bundles import make_bundle
from tests.export.batches import assert_alone_is_as_in_any_batch
from tests.export.test_onnx import open_session
from tests.service.serving import Server, served

ENTRY = ZOO / "addition"
ADDITION, SORTING = LAYOUTS["addition"], LAYOUTS["sorting"]
PROBLEMS = [(7, 5), (96, 125), (0, 0), (99_999, 1), (31_415_926, 2_718)]
UNTRAINED: dict[str, Any] = {
    "input_size": SORTING.input_size,
    "output_size": SORTING.output_size,
    "environment": "sorting",
    **{"columns": 6, "depth": 5, "hidden_size": 8, "width": 7},
}
NAMES = ["adder", "sorter"]


@pytest.fixture(scope="module")
def adder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with the zoo's bundle that adds, as it is served."""
    folder = tmp_path_factory.mktemp("npi")
    shutil.copytree(ENTRY / "bundle", folder / "adder")
    return folder


@pytest.fixture(scope="module")
def bundles(adder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """The same, and one of an untrained network that sorts."""
    folder = tmp_path_factory.mktemp("sorter")
    make_bundle(folder, name="sorter", family="npi", **UNTRAINED)
    return {"adder": read_bundle(adder / "adder"), "sorter": read_bundle(folder)}


def step_of(name: str, traced: bool = False) -> StepModule:
    if name == "adder":
        return StepModule(load(ENTRY)[0], "sigmoid", traced)
    torch.manual_seed(1)
    return StepModule(cast(Network, build("npi", UNTRAINED)), "sigmoid", traced)


@pytest.mark.parametrize("name", NAMES)
def test_every_artefact_is_the_network(bundles: dict[str, Bundle], name: str) -> None:
    bundle, step = bundles[name], step_of(name)
    traced = step_of(name, traced=True)
    steppers = (
        (step, onnx_stepper(bundle.read(STEP_ONNX), step), STEP_ONNX),
        (traced, onnx_stepper(bundle.read(STEP_TRACED_ONNX), traced), STEP_TRACED_ONNX),
        (step, torchscript_stepper(to_torchscript(step), step), STEP_TORCHSCRIPT),
    )
    for module, stepper, file in steppers:
        assert follow(module, stepper, file, 100).step <= 1e-5
    assert max(bundle.manifest.parity.values()) <= 1e-5
    assert max(bundle.manifest.drift.values()) <= 1e-3


def test_the_artefacts_of_the_trained_network_add_by_themselves_as_the_teacher_does(
    adder: Path,
) -> None:
    """All problems in one batch, each decision the symbolic program's, the network's states and
    the artefacts' the same in every digit, pointer and program, all else within 1e-5."""
    bundle, step = read_bundle(adder / "adder"), step_of("adder")
    columns = step.state_spec[0].dims[1]
    typed = [typed_columns([digits_of(one) for one in pair]) for pair in PROBLEMS]
    runs = [trace(PROGRAMS["addition"], ADDITION, columns, values)[0] for values in typed]
    pads = [pad_of(ADDITION, columns, [digits_of(one) for one in pair]) for pair in PROBLEMS]
    start = [np.repeat(row.numpy()[None], len(PROBLEMS), 0) for row in step.initial_state()]
    start[0] = np.array(pads, np.float32)
    x = np.zeros((len(PROBLEMS), step.input_size), np.float32)
    states = {"torch": start, STEP_ONNX: start, STEP_TORCHSCRIPT: start}
    run = {
        "torch": lambda inputs: reference(step, inputs),
        STEP_ONNX: onnx_stepper(bundle.read(STEP_ONNX), step),
        STEP_TORCHSCRIPT: torchscript_stepper(to_torchscript(step), step),
    }
    for tick in range(max(map(len, runs))):
        outputs = {name: run[name]([x, *states[name]]) for name in run}
        states = {name: found[1:] for name, found in outputs.items()}
        for row, decisions in enumerate(runs):
            if tick < len(decisions):
                assert ADDITION.decide(outputs["torch"][0][row].tolist()) == decisions[tick]
        for name in (STEP_ONNX, STEP_TORCHSCRIPT):
            for place, (want, got) in enumerate(zip(outputs["torch"], outputs[name], strict=True)):
                np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
                assert place in (0, 6) or (got == want).all()
    sums = [number_on(pad[3]) for pad in states[STEP_ONNX][0]]
    assert sums == [sum(pair) for pair in PROBLEMS]


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_has_no_loop_and_no_sum_that_rounds_by_place(
    bundles: dict[str, Bundle], name: str
) -> None:
    for file in (STEP_ONNX, STEP_TRACED_ONNX):
        graph = onnx.load_from_string(bundles[name].read(file)).graph
        spent = {node.op_type for node in graph.node}
        assert not spent & {"Loop", "If", "Scan", "NonZero", "CumSum", "ReduceSum", "ReduceMean"}


def test_a_row_alone_equals_the_row_at_every_place_of_a_full_batch_bit_for_bit(
    adder: Path,
) -> None:
    bundle = read_bundle(adder / "adder")
    session, step = open_session(bundle, STEP_ONNX), step_of("adder")
    random = np.random.default_rng(7)
    feeds = {"x": np.zeros((32, step.input_size), np.float32)}
    for tensor in step.state_spec:
        shape = (32, *tensor.dims)
        whole = {"pad": (-1, 10), "pointers": (-1, 129), "depth": (0, 9), "programs": (0, 5)}
        if tensor.name == "frames":
            feeds[tensor.name] = random.uniform(-1, 1, shape).astype(np.float32)
        else:
            low, high = whole.get(tensor.name, (0, 5))
            feeds[tensor.name] = random.integers(low, high, shape).astype(np.float32)
    others = {key: np.repeat(value[-1:], 4, 0) for key, value in feeds.items()}
    assert_alone_is_as_in_any_batch(session, feeds, others)


@pytest.fixture(scope="module")
def server(adder: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    with served(tmp_path_factory.mktemp("server"), adder) as running:
        yield running


def test_a_session_is_given_two_numbers_and_stepped_until_it_halts(server: Server) -> None:
    with server.client() as client:
        model = client.get("/v1/models/addition").json()
        pad = next(one for one in model["state"] if one["name"] == "pad")
        assert model["form"]["kind"] == "numbers" and model["form"]["numbers"] == [
            "first",
            "second",
        ]
        given = pad_of(ADDITION, pad["dims"][1], [digits_of(96), digits_of(125)])
        made = client.post("/v1/models/addition/sessions", json={"state": {"pad": given}})
        assert made.status_code == 201, made.text
        path = f"/v1/sessions/{made.json()['id']}"
        halted, outputs = model["form"]["output"]["halted"][0], []
        while not outputs or outputs[-1][halted] < 0.5:
            body = {"inputs": ticks(ADDITION, 1)}
            outputs += client.post(f"{path}/steps", json=body).json()["outputs"]
            assert len(outputs) < 60
        memory = {one["name"]: one for one in client.get(f"{path}/memory").json()["state"]}
        kept = client.get(f"{path}/history?limit=1000").json()["history"]
    rows = np.array(memory["pad"]["data"]).reshape(memory["pad"]["dims"])
    assert [number_on(row.tolist()) for row in rows] == [96, 125, 11, 221]
    assert memory["depth"]["data"] == [0]
    assert call_tree(ADDITION, outputs)[:8] == [
        "ADD",
        "  ADD1",
        "    ACT write out 1",
        "    CARRY",
        "      ACT left carry",
        "      ACT write carry 1",
        "      ACT right carry",
        "  LSHIFT",
    ]
    rows_kept = [row for entry in reversed(kept) for row in entry.get("outputs", [])]
    assert call_tree(ADDITION, rows_kept) == call_tree(ADDITION, outputs)


def test_numbers_can_be_typed_and_a_paused_run_forked_and_told_otherwise(server: Server) -> None:
    """Half of a run; a fork that a client lets return at once; the first goes on to its sum."""
    typed = typed_rows(ADDITION, typed_columns([digits_of(58), digits_of(67)]))
    back = [0.0] * ADDITION.input_size
    back[0] = 1
    with server.client() as client:
        path = f"/v1/sessions/{client.post('/v1/models/addition/sessions', json={}).json()['id']}"
        client.post(f"{path}/steps", json={"inputs": typed + ticks(ADDITION, 6)})
        fork = client.post(f"{path}/fork", json={}).json()["id"]
        short = client.post(f"/v1/sessions/{fork}/steps", json={"inputs": [back] * 3}).json()
        rest = client.post(f"{path}/steps", json={"inputs": ticks(ADDITION, 40)}).json()
        whole = client.post(
            "/v1/models/addition/predict", json={"inputs": typed + ticks(ADDITION, 60)}
        ).json()
        memory = client.get(f"{path}/memory").json()["state"][0]
        cut = client.get(f"/v1/sessions/{fork}/memory").json()["state"][0]
    assert ADDITION.halted(short["outputs"][-1]) and ADDITION.halted(rest["outputs"][-1])
    assert ADDITION.halted(whole["outputs"][-1])
    size = memory["dims"][1]
    assert number_on(memory["data"][3 * size :]) == 125
    assert number_on(cut["data"][3 * size :]) == 5


def test_the_trace_of_a_session_tells_which_programs_are_on_its_stack_after_each_row(
    server: Server,
) -> None:
    typed = typed_rows(ADDITION, [(6, 5)])
    with server.client() as client:
        path = f"/v1/sessions/{client.post('/v1/models/addition/sessions', json={}).json()['id']}"
        body = {"inputs": typed + ticks(ADDITION, 9), "trace": True}
        told = client.post(f"{path}/steps", json=body).json()["trace"]
        later = client.get(f"{path}/trace?roles=stack,counter").json()["state"]
    found = {one["name"]: np.array(one["data"]).reshape(one["dims"]) for one in told}
    assert {one["name"]: one["role"] for one in told} == {
        "depth": "counter",
        "programs": "stack",
        "arguments": "stack",
    }
    stacks = [
        " ".join(ADDITION.programs[int(number)] for number in programs[: int(depth)])
        for programs, (depth,) in zip(found["programs"], found["depth"], strict=True)
    ]
    carrying = ["ADD ADD1 CARRY"] * 4
    assert stacks == ["ADD", "ADD ADD1", "ADD ADD1", *carrying, "ADD ADD1", "ADD", "ADD LSHIFT"]
    for one in later:  # which has the state before the first row, too
        kept = np.array(one["data"]).reshape(one["dims"])[1:]
        assert kept.tolist() == found[one["name"]].tolist()


def test_the_traced_step_tells_which_program_ran_what_it_saw_and_what_it_chose(adder: Path) -> None:
    step = step_of("adder", traced=True)
    run = onnx_stepper(read_bundle(adder / "adder").read(STEP_TRACED_ONNX), step)
    state = [row.numpy()[None] for row in step.initial_state()]
    found: dict[str, list[list[float]]] = {name: [] for name in step.output_names}
    for row in typed_rows(ADDITION, [(3, 4)]) + ticks(ADDITION, 3):
        outputs = run([np.array([row], np.float32), *state])
        state = outputs[1 : len(state) + 1]
        for name, value in zip(step.output_names, outputs, strict=True):
            found[name].append(value[0].tolist())
    names = [ADDITION.programs[int(number)] for (number,) in found["running_program"][1:]]
    assert names == ["ADD", "ADD1", "ADD1"]
    assert found["event"] == [[1], [2], [3], [4]]  # typed, called, acted, returned
    assert found["seen"][1:] == [[3, 4, -1, -1], [3, 4, -1, -1], [3, 4, -1, 7]]
    assert found["chosen_arguments"][2] == [3, 4, 8]  # write, out, the digit 7
