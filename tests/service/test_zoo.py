"""The trained networks that come with the package, as a server serves them by default."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from model.example_graph import main as ask_a_graph
from model.npi_layout import LAYOUTS
from model.npi_numbers import digits_of, number_on, pad_of, ticks
from model.tape import decode, encode
from model.tasks import make_task
from model.tasks.few_shot import FewShot
from model.tasks.tape_task import TapeTask
from service.settings import ZOO
from tests.service.serving import Server, served

COPIES = sorted(folder.name for folder in Path(ZOO).glob("copy*") if (folder / "bundle").is_dir())
ROWS = 30  # ten more than any was trained on


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    with served(tmp_path_factory.mktemp("zoo"), Path(ZOO)) as running:
        yield running


def test_two_families_copy() -> None:
    assert {"copy", "copy-dnc"} <= set(COPIES)


@pytest.mark.parametrize("name", COPIES)
def test_a_session_copies_what_it_is_shown_and_so_does_its_fork(server: Server, name: str) -> None:
    pattern = np.random.default_rng(1).integers(0, 2, (ROWS, 8))
    shown = np.pad(pattern, ((0, 1), (0, 1)))
    shown[-1, 8] = 1  # the delimiter
    silence = np.zeros((ROWS, 9)).tolist()
    with server.client() as client:
        made = client.post(f"/v1/models/{name}/sessions", json={})
        assert made.status_code == 201, made.text
        path = f"/v1/sessions/{made.json()['id']}"
        told = client.post(f"{path}/steps", json={"inputs": shown.tolist()})
        assert told.status_code == 200 and told.json()["step"] == ROWS + 1
        fork = f"/v1/sessions/{client.post(f'{path}/fork', json={}).json()['id']}"
        for session in (path, fork):
            answer = client.post(f"{session}/steps", json={"inputs": silence}).json()["outputs"]
            assert np.array(answer).round().astype(int).tolist() == pattern.tolist()
            assert client.delete(session).status_code == 204


def test_of_a_dnc_it_is_shown_which_slots_are_used_and_in_which_order_they_were_written(
    server: Server,
) -> None:
    pattern = np.pad(np.random.default_rng(2).integers(0, 2, (6, 8)), ((0, 0), (0, 1)))
    with server.client() as client:
        path = f"/v1/sessions/{client.post('/v1/models/copy-dnc/sessions', json={}).json()['id']}"
        traced = client.post(f"{path}/steps", json={"inputs": pattern.tolist(), "trace": True})
        state = {
            tensor["role"]: np.array(tensor["data"]).reshape(tensor["dims"])
            for tensor in client.get(f"{path}/memory").json()["state"]
        }
    assert traced.status_code == 200, traced.text
    written = state["write_weights"][0]
    # The usage of a step is what the step before it has written: five rows.
    assert (state["usage"] > 0.5).sum() == 5 and written.max() > 0.9
    last = int(written.argmax())
    assert state["usage"][last] < 0.1 and state["link"][last].max() > 0.9


def test_a_session_that_is_told_a_graph_answers_where_paths_lead(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask_a_graph(["graph-paths", "--edges", "20", "--url", server.url]) == 0
    assert "8 of 8 queries right, every node of the path" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["addition", "recursive-addition"])
@pytest.mark.parametrize("digits", [1, 40])
def test_a_session_adds_by_either_program(server: Server, name: str, digits: int) -> None:
    layout, columns = LAYOUTS["addition"], 128
    first, second = int("9" * digits), int("5" * digits)
    given = pad_of(layout, columns, [digits_of(first), digits_of(second)])
    pad = ended(server, name, given, ticks(layout, 20 * digits + 20))
    assert number_on(pad[-1].astype(int).tolist()) == first + second


@pytest.mark.parametrize("name", ["bubble-sort", "recursive-bubble-sort"])
def test_a_session_sorts_by_either_program(server: Server, name: str) -> None:
    layout, values = LAYOUTS["sorting"], [4, 1, 7, 3, 1, 9, 0]
    given = pad_of(layout, 32, [values])
    pad = ended(server, name, given, ticks(layout, 1500))
    assert pad[0, : len(values)].astype(int).tolist() == sorted(values)


def ended(server: Server, name: str, pad: list[list[float]], rows: list[list[float]]) -> np.ndarray:
    """The pad of a session that was created with one, and stepped for so many rows."""
    with server.client() as client:
        made = client.post(f"/v1/models/{name}/sessions", json={"state": {"pad": pad}})
        assert made.status_code == 201, made.text
        path = f"/v1/sessions/{made.json()['id']}"
        told = client.post(f"{path}/steps", json={"inputs": rows})
        assert told.status_code == 200, told.text
        state = client.get(f"{path}/memory").json()["state"]
        assert client.delete(path).status_code == 204
    parts = {one["name"]: np.array(one["data"]).reshape(one["dims"]) for one in state}
    assert parts["depth"].item() == 0, "it has not halted"
    return parts["pad"]


def answered(server: Server, name: str, inputs: torch.Tensor) -> torch.Tensor:
    """What a session a sequence answers. inputs: (B, T, X). Returns (B, T, Y)."""
    answers: list[list[list[float]]] = []
    with server.client() as client:
        for rows in inputs.tolist():
            made = client.post(f"/v1/models/{name}/sessions", json={})
            path = f"/v1/sessions/{made.json()['id']}"
            answers.append(client.post(f"{path}/steps", json={"inputs": rows}).json()["outputs"])
            client.delete(path)
    return torch.tensor(answers)


def test_a_session_names_drawings_of_alphabets_that_no_training_had(server: Server) -> None:
    task = cast(FewShot, make_task("few-shot-pairs")).drawn_for("test")
    batch = task.at_length(torch.Generator().manual_seed(5), 4, 5)
    answers = answered(server, "few-shot-pairs", batch.inputs)
    first, *later = task.at_instances(answers, batch).mean(dim=0).tolist()
    assert first < 0.5, "nobody told it yet"
    assert sum(later) / len(later) > 0.8


ARRAY = [3, 1, 4, 1, 5, 9, 2]
BEHIND = len(ARRAY) + 1
TAPES = {  # as they are given, and as they should be
    "increment": (ARRAY, [value + 1 for value in ARRAY]),
    "tape-copy": ([BEHIND, *ARRAY], [BEHIND, *ARRAY, *ARRAY]),
    "reverse": ([BEHIND, *ARRAY], [BEHIND, *ARRAY, *reversed(ARRAY)]),
}


@pytest.mark.parametrize("name", TAPES)
def test_a_session_changes_its_tape_by_a_program_that_it_has_learned(
    server: Server, name: str
) -> None:
    (given, right), integers = TAPES[name], 64
    rows = [[1]] * cast(TapeTask, make_task(name)).problem.steps(len(ARRAY))
    tape = encode(given, integers, integers)
    with server.client() as client:
        made = client.post(f"/v1/models/{name}/sessions", json={"state": {"tape": tape.tolist()}})
        assert made.status_code == 201, made.text
        path = f"/v1/sessions/{made.json()['id']}"
        client.post(f"{path}/steps", json={"inputs": rows}).raise_for_status()
        state = client.get(f"{path}/memory").json()["state"]
    held = next(np.array(tensor["data"]) for tensor in state if tensor["name"] == "tape")
    assert decode(held) == right + [0] * (integers - len(right))


def test_a_session_with_a_sparse_memory_recalls_the_item_after_the_one_asked_for(
    server: Server,
) -> None:
    task = make_task("associative-recall")
    batch = task.at_length(torch.Generator().manual_seed(7), 6, 6)
    answers = answered(server, "associative-recall-sam", batch.inputs)
    wrong = (answers.round() != batch.targets)[batch.mask]
    assert wrong.sum() <= 1 and len(wrong) == 6 * 3


def test_a_session_repeats_what_it_is_shown_as_often_as_it_is_told(server: Server) -> None:
    batch = make_task("repeat-copy").at_length(torch.Generator().manual_seed(3), 4, 5)
    answers = answered(server, "repeat-copy", batch.inputs)
    wrong = (answers.round() != batch.targets)[batch.mask]
    assert wrong.sum() <= 1 and len(wrong) >= 4 * 5
