from pathlib import Path

import pytest
import torch
from torch import nn

from export.command import export
from model.entry import make_card, write_entry
from model.lstm import LSTM
from model.options import options_of, recipe_from
from model.state import flatten
from model.tasks import TASKS, make_task
from model.tasks.tape_problems import PROBLEMS

B, T, X, Y, H = 3, 6, 5, 4, 7


def lstm(layers: int = 2) -> LSTM:
    torch.manual_seed(1)
    return LSTM(X, Y, H, layers)


def rows() -> torch.Tensor:
    return torch.randn(B, T, X, generator=torch.Generator().manual_seed(2))


def test_it_computes_what_torchs_own_lstm_computes() -> None:
    network, twin = lstm(), nn.LSTM(X, H, num_layers=2, batch_first=True)
    for layer, cell in enumerate(network.core.cells):
        for name, value in cell.named_parameters():
            getattr(twin, f"{name}_l{layer}").data.copy_(value)
    expected = network.output(twin(rows())[0])
    torch.testing.assert_close(network(rows()), expected)


def test_every_episode_begins_with_the_learned_state() -> None:
    network = lstm()
    with torch.no_grad():
        network.core.initial.copy_(torch.randn(4, H))
    state = network.initial_state(B)
    names = [spec.name for spec in network.state_spec]
    assert names == [f"controller_{part}" for part in ("hidden", "cell", "hidden1", "cell1")]
    for part, learned in zip(flatten(state), network.core.initial, strict=True):
        assert part.shape == (B, H) and all(row.equal(learned) for row in part)


def test_the_traced_step_is_the_step_with_an_empty_trace() -> None:
    network, x = lstm(), rows()[:, 0]
    y, state = network.step(x, network.initial_state(B))
    traced, following, trace = network.step_traced(x, network.initial_state(B))
    assert y.equal(traced) and trace == () and network.trace_spec == ()
    assert all(a.equal(b) for a, b in zip(flatten(state), flatten(following), strict=True))


def test_huge_inputs_stay_finite() -> None:
    assert lstm()(torch.full((B, T, X), 3e38)).isfinite().all()


@pytest.mark.parametrize("sizes", [(0, 4, 7, 2), (5, 0, 7, 2), (5, 4, 0, 2), (5, 4, 7, 0)])
def test_sizes_below_one_are_refused(sizes: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="must be an integer of at least 1, got 0"):
        LSTM(*sizes)


@pytest.mark.parametrize("shape", [(B, X + 1), (B + 1, X), (B, 2, X), (X,)])
def test_rows_of_other_dims_are_refused(shape: tuple[int, ...]) -> None:
    network = lstm()
    with pytest.raises(ValueError, match=r"input_t must be \(3, 5\), a row of each"):
        network.step(torch.zeros(shape), network.initial_state(B))


@pytest.mark.parametrize(
    ("task", "parameters"),
    [
        ("copy", 1_352_969),
        ("repeat-copy", 5_312_007),
        ("associative-recall", 1_344_518),
        ("ngram", 331_905),
        ("priority-sort", 384_424),
    ],
)
def test_by_itself_it_is_as_large_as_the_papers(task: str, parameters: int) -> None:
    config = recipe_from(options_of([task, "--family", "lstm"])).network
    assert config["layers"] == 3
    count = sum(weight.numel() for weight in LSTM(**config).parameters())
    # The paper's own numbers: peepholes and undisclosed inputs make up the rest.
    assert count == pytest.approx(parameters, rel=0.15)


def test_it_is_exported_like_any_family(tmp_path: Path) -> None:
    sizes = "--family lstm --controller-size 7 --controller-layers 2"
    recipe = recipe_from(options_of(["copy", *sizes.split()]))
    network = LSTM(**recipe.network)
    card = make_card(recipe, make_task("copy"), "ntm train copy", {}, {})
    write_entry(tmp_path, card, network.state_dict())
    manifest = export(tmp_path, tmp_path / "bundle")
    assert manifest.family == "lstm" and manifest.trace == ()
    assert [spec.role for spec in manifest.state] == ["controller"] * 4


def test_every_task_has_a_width_for_it() -> None:
    for task in TASKS.keys() - PROBLEMS.keys():  # an LSTM alone has no tape
        assert recipe_from(options_of([task, "--family", "lstm"])).network["hidden_size"] >= 128
