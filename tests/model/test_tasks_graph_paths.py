import math

import msgspec
import pytest
import torch
from torch import Generator, Tensor

from model.evaluation import describe, evaluate
from model.families import build
from model.tasks.graph_paths import GraphPaths, draw_graphs
from model.tasks.task import join


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def parts(task: GraphPaths, row: Tensor) -> tuple[int | None, int | None, int | None, bool]:
    """Source, label and target of one input row, None where it has none, and the flag."""
    pieces = row.split([task.names, task.labels, task.names, 1])
    assert all(piece.sum() <= 1 for piece in pieces)
    found = [int(piece.argmax()) if piece.any() else None for piece in pieces[:3]]
    return found[0], found[1], found[2], bool(row[-1])


def answers_of(task: GraphPaths, rows: Tensor) -> tuple[list[int | None], list[int]]:
    """What a reader who keeps the edges in a table answers, row by row, and each query's steps."""
    leads: dict[tuple[int, int], int] = {}
    told: list[int | None] = []
    steps: list[int] = []
    at = None
    for row in rows:
        source, label, target, asked = parts(task, row)
        if not asked:
            told.append(None)
            if label is not None:
                assert source is not None and target is not None and source != target
                assert (source, label) not in leads
                leads[source, label] = target
            continue
        assert label is not None and target is None
        at = source if source is not None else at
        steps = [*steps, 1] if source is not None else [*steps[:-1], steps[-1] + 1]
        assert at is not None
        at = leads[at, label]
        told.append(at)
    return told, steps


@pytest.mark.parametrize("edges", [4, 5, 9, 24])
def test_the_target_is_what_a_reader_of_the_edges_finds(edges: int) -> None:
    task = GraphPaths()
    inputs, targets, mask = task.at_length(seeded(edges), 30, edges)
    for rows, target, scored in zip(inputs, targets, mask, strict=True):
        told, steps = answers_of(task, rows)
        assert scored.tolist() == [node is not None for node in told]
        for node, row in zip(told, target, strict=True):
            assert row.nonzero()[:, 0].tolist() == ([] if node is None else [node])
        assert len(steps) == task.queries and all(1 <= count <= 4 for count in steps)


def test_sequences_of_fewer_steps_end_in_silent_rows() -> None:
    task = GraphPaths(names=5, labels=3)
    steps = torch.tensor([[1, 2], [2, 3]])
    inputs, targets, mask = task.of_size(seeded(1), 2, 6, steps)
    assert inputs.shape == (2, 11, 14) and targets.shape == (2, 11, 5) and mask.shape == (2, 11)
    assert mask.tolist() == [[False] * 6 + [True] * 3 + [False] * 2, [False] * 6 + [True] * 5]
    assert inputs[0, 9:].eq(0).all() and targets[0, 9:].eq(0).all()
    assert [answers_of(task, rows)[1] for rows in inputs] == steps.tolist()


def test_a_graph_has_half_as_many_nodes_as_edges_and_no_node_is_an_end() -> None:
    names, source, label, target = draw_graphs(seeded(1), 200, 13, 16, 4)
    assert names.shape == (200, 6) and source.shape == label.shape == target.shape == (200, 13)
    for row in range(200):
        assert len(set(names[row].tolist())) == 6
        assert set(source[row].tolist()) == set(range(6))
        pairs = set(zip(source[row].tolist(), label[row].tolist(), strict=True))
        assert len(pairs) == 13
    assert (source != target).all() and int(target.max()) == 5 and int(target.min()) == 0


def test_names_labels_and_targets_are_uniform() -> None:
    count = 4000
    names, source, label, target = draw_graphs(seeded(2), count, 8, 16, 4)
    for drawn, size in ((names[:, 0], 16), (label[:, 0], 4), (source[:, 0], 4), (target[:, 0], 4)):
        share = drawn.bincount(minlength=size) / count
        deviation = math.sqrt((1 / size) * (1 - 1 / size) / count)
        assert (share - 1 / size).abs().max() < 5 * deviation


def test_training_draws_its_edges_and_steps_and_stages_grow_to_them() -> None:
    task, generator = GraphPaths(min_edges=4, max_edges=6, max_steps=2), seeded(3)
    seen = [task.sample(generator, 3) for _ in range(40)]
    edges = {int((~batch.mask).long().cumprod(dim=1).sum(dim=1).min()) for batch in seen}
    assert edges == {4, 5, 6}
    assert {int(n) for batch in seen for n in batch.mask.sum(dim=1)} == {4, 5, 6, 7, 8}
    lengths = [stage.train_lengths for stage in GraphPaths().stages]
    assert lengths == [(4, 8), (4, 16), (4, 24)]
    assert [getattr(stage, "max_steps") for stage in GraphPaths().stages] == [1, 2, 4]  # noqa: B009


def test_a_length_may_count_the_steps_of_a_query() -> None:
    task = msgspec.structs.replace(GraphPaths(), unit="steps")
    assert task.train_lengths == (1, 4)
    inputs, _, mask = task.at_length(seeded(1), 5, 3)
    assert inputs.shape[1] == 24 + 4 * 3 and mask[:, 24:].all()
    assert answers_of(task, inputs[0])[1] == [3, 3, 3, 3]


@pytest.mark.parametrize("edges", [3, 34])
def test_graphs_that_there_are_no_names_or_nodes_for_are_refused(edges: int) -> None:
    with pytest.raises(ValueError, match=f"edges must be at least 4, .* 16 names, got {edges}"):
        GraphPaths().at_length(seeded(1), 2, edges)


def test_queries_without_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        GraphPaths().of_size(seeded(1), 2, 6, torch.tensor([[1, 0], [1, 1]]))


def test_a_query_is_right_where_every_node_of_its_path_is() -> None:
    task = GraphPaths(queries=3)
    steps = torch.tensor([[1, 2, 3], [4, 1, 1]])
    batch = task.of_size(seeded(4), 2, 8, steps)
    logits = 9 * batch.targets
    assert task.right(logits, batch).tolist() == [1, 1]
    wrong = logits.clone()
    wrong[0, 8 + 1] = wrong[0, 8 + 1].roll(1)  # in the second path
    wrong[0, 8 + 2] = wrong[0, 8 + 2].roll(1)
    wrong[1, 8 + 3] = wrong[1, 8 + 3].roll(1)  # in the first
    wrong[1, 8 + 5] = wrong[1, 8 + 5].roll(1)  # in the third
    assert task.right(wrong, batch).tolist() == pytest.approx([2 / 3, 1 / 3])
    mixed = join([batch, task.of_size(seeded(5), 2, 10, steps)])
    assert task.right(9 * mixed.targets, mixed).tolist() == [1, 1, 1, 1]


def test_evaluation_tells_how_many_queries_were_right() -> None:
    task = GraphPaths()
    sizes = {"input_size": task.input_size, "output_size": task.output_size}
    torch.manual_seed(1)
    network = build("dnc", sizes | {"memory_size": 7, "memory_width": 5, "controller_size": 6})
    results = evaluate(network, task, [6], sequences=20, within=0)  # pyright: ignore
    assert 0 <= results["lengths"]["6"]["right"] < 0.5
    assert "of queries right" in describe(results)


def test_the_form_tells_a_client_how_to_write_a_row() -> None:
    form, task = GraphPaths().form, GraphPaths()
    sizes = [part["size"] for part in form["parts"]]
    assert form["kind"] == "graph" and sum(sizes) + len(form["flags"]) == task.input_size


def test_the_data_of_seed_one_never_changes() -> None:
    batch = GraphPaths().sample(seeded(1), 2)
    first = [parts(GraphPaths(), row) for row in batch.inputs[0, :3]]
    assert batch.inputs.shape == (2, 23, 37)
    assert first == [(11, 2, 14, False), (11, 1, 15, False), (4, 0, 11, False)]
