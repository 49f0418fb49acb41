import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from model.entry import make_card, write_entry
from model.evaluation import describe, evaluate, held_out, main, summarise
from model.families import build
from model.options import options_of, recipe_from
from model.state import StateSpec
from model.tasks import make_task
from model.tasks.copy import Copy
from model.tasks.ngram import NGram


class Seen(NamedTuple):
    rows: Tensor  # (B, 6, 9), the rows so far, newest last


class PerfectCopier(nn.Module):
    """Answers sequences of three vectors from the rows it keeps; `flip` spoils one bit a row."""

    family, input_size, output_size = "copier", 9, 8
    state_spec: StateSpec = ()
    trace_spec: StateSpec = ()

    def __init__(self, flip: bool) -> None:
        super().__init__()
        self.certainty = nn.Parameter(torch.tensor(20.0))
        self.flip = flip

    def initial_state(self, batch: int) -> Seen:
        return Seen(torch.zeros(batch, 6, 9))

    def step(self, input_t: Tensor, state: Seen) -> tuple[Tensor, Seen]:
        rows = torch.cat([state.rows[:, 1:], input_t.unsqueeze(1)], dim=1)
        logits = (2 * rows[:, 1, :8] - 1) * self.certainty
        if self.flip:
            logits = torch.cat([-logits[:, :1], logits[:, 1:]], dim=1)
        return logits, Seen(rows)

    def step_traced(self, x: Tensor, state: Seen) -> tuple[Tensor, Seen, tuple[()]]:
        return *self.step(x, state), ()


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    sizes = "--memory-size 7 --memory-width 5 --controller-size 6"
    recipe = recipe_from(options_of(["copy", *sizes.split()]))
    torch.manual_seed(2)
    weights = build(recipe.family, recipe.network).state_dict()
    card = make_card(recipe, Copy(), "ntm train copy", {"old": 1}, {"steps_done": 0})
    write_entry(tmp_path / "entry", card, weights)
    return tmp_path / "entry"


def results_of(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert main(["copy", "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_network_that_copies_has_no_wrong_bits() -> None:
    summary = summarise(PerfectCopier(flip=False), Copy(), held_out(Copy(), 3, 7, 1))
    assert (summary.sequences, summary.perfect, summary.wrong_bits) == (7, 7, 0)
    assert 0 <= summary.cross_entropy_bits < 1e-5


def test_one_spoilt_bit_a_row_is_counted_and_costed() -> None:
    summary = summarise(PerfectCopier(flip=True), Copy(), held_out(Copy(), 3, 7, 1))
    assert (summary.perfect, summary.wrong_bits, summary.wrong_bits_worst) == (0, 3, 3)
    # A bit missed with a logit of 20 costs ln(1 + e^20) = 20 nats = 28.8539 bits.
    assert summary.cross_entropy_bits == pytest.approx(3 * 28.8539, rel=1e-5)


def test_the_command_prints_both_measures_by_length(
    entry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--lengths", "2,5", "--sequences", "3", "--within", "40"]
    assert main(["copy", "--entry", str(entry), *options]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == "length wrong bits worst cross-entropy bits perfect".split()
    assert [row.split()[0] for row in rows] == ["1-20", "2", "5"]
    assert [row.split()[-1].split("/")[1] for row in rows] == ["40", "3", "3"]


def test_a_length_has_the_same_result_whatever_else_is_asked(
    entry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("--entry", str(entry), "--sequences", "3", "--within", "0")
    alone = results_of(capsys, *common, "--lengths", "5")
    among = results_of(capsys, *common, "--lengths", "2,5")
    other = results_of(capsys, *common, "--lengths", "5", "--seed", "1001")
    assert alone["lengths"]["5"] == among["lengths"]["5"] != other["lengths"]["5"]
    assert "within" not in alone


def test_sequences_beyond_one_chunk_are_all_evaluated() -> None:
    batches = list(held_out(Copy(), 2, 230, 1000))
    assert [batch.inputs.shape[0] for batch in batches] == [100, 100, 30]
    assert not batches[0].inputs.equal(batches[1].inputs)


def test_the_lengths_of_training_share_the_sequences_evenly() -> None:
    results = evaluate(PerfectCopier(flip=False), Copy(min_length=3, max_length=4), (), within=5)
    assert results["within"]["sequences"] == 6
    assert (results["within"]["shortest"], results["within"]["longest"]) == (3, 4)


def test_card_replaces_the_results_and_keeps_all_else(
    entry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = json.loads((entry / "card.json").read_text())
    common = ("--entry", str(entry), "--lengths", "2,5", "--sequences", "3", "--within", "20")
    results = results_of(capsys, *common, "--card")
    after = json.loads((entry / "card.json").read_text())
    assert before["results"] == {"old": 1} and after["results"] == results
    assert {**before, "results": 0} == {**after, "results": 0}


def test_an_entry_that_is_none_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["copy", "--entry", str(tmp_path)]) == 1
    assert "ntm eval: " in capsys.readouterr().err


def test_no_sequences_are_told(entry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in (["--sequences", "0", "--within", "0"], ["--within", "-3"]):
        assert main(["copy", "--entry", str(entry), "--lengths", "2", *options]) == 1
        assert "expected at least one sequence" in capsys.readouterr().err


def test_weights_for_another_task_are_told(entry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = json.loads((entry / "card.json").read_text())
    (entry / "card.json").write_text(json.dumps({**card, "task": "sort"}))
    assert main(["copy", "--entry", str(entry)]) == 1
    assert "expected weights for copy, got a card for sort" in capsys.readouterr().err


class Undecided(nn.Module):
    """Says one half to everything, at a cost of one bit a bit."""

    family, input_size, output_size = "undecided", 1, 1
    state_spec: StateSpec = ()
    trace_spec: StateSpec = ()

    def __init__(self) -> None:
        super().__init__()
        self.undecided = nn.Parameter(torch.zeros(1))

    def initial_state(self, batch: int) -> tuple[()]:
        return ()

    def step(self, input_t: Tensor, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        return self.undecided.expand(input_t.shape[0], 1), state

    def step_traced(self, x: Tensor, state: tuple[()]) -> tuple[Tensor, tuple[()], tuple[()]]:
        return *self.step(x, state), ()


def test_the_gap_to_the_optimum_is_paired() -> None:
    task, batches = NGram(), list(held_out(NGram(), 200, 12, 1))
    summary = summarise(Undecided(), task, batches)
    optimum = task.optimum_bits(batches[0]).double()
    assert summary.cross_entropy_bits == pytest.approx(200)
    assert summary.optimum_bits == pytest.approx(optimum.mean().item(), abs=1e-4)
    assert summary.gap_bits == pytest.approx(200 - optimum.mean().item(), abs=1e-4)
    assert summary.gap_error == pytest.approx(optimum.std().item() / math.sqrt(12), abs=1e-4)


def test_results_tell_of_an_optimum_only_where_it_costs_something() -> None:
    with_gap = evaluate(Undecided(), NGram(bits=9), (9,), sequences=3, within=0)
    without = evaluate(PerfectCopier(flip=True), Copy(), (3,), sequences=3, within=0)
    assert "bits above the optimum of" in describe(with_gap)
    assert "optimum_bits" not in without["lengths"]["3"] and "optimum" not in describe(without)


def test_a_length_counts_what_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = "--memory-size 7 --memory-width 5 --controller-size 6".split()
    recipe = recipe_from(options_of(["repeat-copy", *sizes]))
    network = build(recipe.family, recipe.network)
    card = make_card(recipe, make_task("repeat-copy"), "ntm train repeat-copy", {}, {})
    write_entry(tmp_path, card, network.state_dict())
    common = ["repeat-copy", "--entry", str(tmp_path), "--json", "--sequences", "2"]
    common += ["--within", "0", "--lengths", "2"]
    found: list[float] = []
    for by in ([], ["--by", "repeats"], ["--by", "vectors"]):
        assert main([*common, *by]) == 0
        results = json.loads(capsys.readouterr().out)["lengths"]["2"]
        found.append(results["cross_entropy_bits"])
    assert found[0] == found[1] != found[2]
    assert main([*common, "--by", "bits"]) == 1
    assert "unit of repeat-copy must be one of repeats, vectors" in capsys.readouterr().err
