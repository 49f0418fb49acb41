"""A served session is given a graph and answers queries; what is printed is what it answered."""

from __future__ import annotations

import random
import re
from collections.abc import Generator
from pathlib import Path

import pytest
import torch

from export.command import main as export
from model.example_graph import Form, Rows, draw_graph, draw_path, form_of, main, spelt
from model.families import load
from model.tasks.graph_paths import GraphPaths
from model.training import main as train
from tests.ports import free_port
from tests.service.serving import Server, served

FORM = Form(16, 4)
TINY = (
    "graph-paths --family dnc --mask-content --memory-size 9 --memory-width 6 --controller-size 8 "
    "--steps 2 --batch 2 --eval-sequences 2 --test-sequences 1 --test-within 0 --compile off"
)


def ones(rows: Rows) -> list[list[int]]:
    """The places of the ones in each row."""
    return [[place for place, value in enumerate(row) if value] for row in rows]


def test_the_form_is_read_from_what_a_server_tells_and_no_other_task_is_taken() -> None:
    assert form_of({"form": GraphPaths().form}) == FORM
    with pytest.raises(ValueError, match="one that reads bits"):
        form_of({"form": {"kind": "bits", "width": 8}})


def test_rows_are_those_of_the_task() -> None:
    steps = torch.tensor([[3, 1]])
    batch = GraphPaths(queries=2).of_size(torch.Generator().manual_seed(1), 1, 8, steps)
    rows: Rows = batch.inputs[0].tolist()
    parts = [(row[:16], row[16:20], row[20:36]) for row in rows]
    edges = [[part.index(1) for part in row] for row in parts[:8]]
    assert [FORM.edge(*edge) for edge in edges] == rows[:8]
    labels = [label.index(1) for _, label, _ in parts[8:]]
    first, second = parts[8][0].index(1), parts[11][0].index(1)
    assert FORM.query(labels[:3], first) + FORM.query(labels[3:], second) == rows[8:]
    assert ones(FORM.query([2, 0], start=5)) == [[5, 18, 36], [16, 36]]


@pytest.mark.parametrize("edges", [4, 12, 24])
def test_a_graph_is_such_as_the_task_draws_and_paths_lead_along_it(edges: int) -> None:
    chance = random.Random(edges)
    graph = draw_graph(chance, FORM, edges)
    sources = {source for source, _ in graph}
    assert len(graph) == edges and len(sources) == edges // 2
    assert all(target in sources and target != source for (source, _), target in graph.items())
    for steps in (1, 4):
        at, labels, nodes = draw_path(chance, graph, steps)
        assert len(labels) == len(nodes) == steps
        for label, node in zip(labels, nodes, strict=True):
            at = graph[at, label]
            assert at == node


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Server, Path]]:
    """A server of a network that has hardly begun to learn, and its entry."""
    folder = tmp_path_factory.mktemp("graph")
    entry, models = folder / "entry", folder / "models"
    assert train([*TINY.split(), "--out", str(entry)]) == 0
    assert export([str(entry), "--out", str(models / "graph-paths")]) == 0
    with served(folder, models) as running:
        yield running, entry


def test_a_served_session_is_given_a_graph_and_what_it_answers_is_the_networks(
    server: tuple[Server, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    running, entry = server
    assert main(["--url", running.url, "--queries", "5", "--seed", "3"]) == 0
    told = capsys.readouterr().out
    graph, chance = draw_graph(random.Random(3), FORM, 12), random.Random(3)
    network, _ = load(entry)
    state, right = network.initial_state(1), 0
    for (source, label), target in graph.items():
        _, state = network.step(torch.tensor([FORM.edge(source, label, target)]), state)
    shown = re.findall(r"from (\w) by ([a-d ]+?)  +([A-P ]+?)  +(right|should be [A-P ]+)", told)
    assert len(shown) == 5
    for from_, by, reached, verdict in shown:
        start, labels, nodes = draw_path(chance, graph, chance.randint(1, 4))
        assert (from_, by) == (spelt([start]), " ".join("abcd"[label] for label in labels))
        answers: list[int] = []
        for row in FORM.query(labels, start):
            y, state = network.step(torch.tensor([row]), state)
            answers.append(int(y.argmax()))
        assert reached == spelt(answers)
        assert verdict == ("right" if answers == nodes else f"should be {spelt(nodes)}")
        right += answers == nodes
    assert f"{right} of 5 queries right" in told
    with running.client() as client:
        assert client.get("/v1/sessions").json()["sessions"] == []


def test_without_a_server_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", f"http://127.0.0.1:{free_port()}"]) == 1
    assert "Connection refused" in capsys.readouterr().err
