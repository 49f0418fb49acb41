"""`ntm train` and `ntm eval` of a neural programmer-interpreter."""

from __future__ import annotations

from pathlib import Path

import pytest

from model import evaluation
from model.entry import make_card, write_entry
from model.families import build, load
from model.options import options_of, recipe_from
from model.tasks import make_task
from model.trainer import Trainer

SMALL = "--family npi --controller-size 8 --columns 9 --depth 4".split()


def test_a_network_is_built_for_the_pad_of_its_task_and_of_the_sizes_asked_for() -> None:
    recipe = recipe_from(options_of(["recursive-bubble-sort", *SMALL]))
    told = {"environment": "sorting", "hidden_size": 8, "columns": 9, "depth": 4}
    assert {name: recipe.network[name] for name in told} == told
    assert "columns" not in recipe_from(options_of(["addition", "--family", "npi"])).network


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["copy", "--family", "npi"], "needs a task with programs, got 'copy'"),
        (["addition", "--family", "npi", "--mask-content"], "'npi' does not take mask_content"),
        (["copy", "--columns", "9"], "'ntm' does not take columns"),
    ],
)
def test_options_that_do_not_go_together_are_refused(argv: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe_from(options_of(argv))


def entry_of(task: str, folder: Path) -> Path:
    """An entry as a run writes it, of a network that has learned nothing."""
    recipe = recipe_from(options_of([task, *SMALL]))
    network = build(recipe.family, recipe.network)
    write_entry(folder, make_card(recipe, make_task(task), "none", {}, {}), network.state_dict())
    return folder


def test_a_network_is_measured_by_itself_and_at_other_sizes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = entry_of("recursive-addition", tmp_path)
    network, card = load(entry)
    assert card.form["kind"] == "numbers" and network.state_spec[0].dims == (4, 9)
    argv = f"recursive-addition --entry {entry} --lengths 2 --sequences 3 --within 0 --set".split()
    assert evaluation.main([*argv, "columns=12,depth=20"]) == 0
    assert "0/3  0.00% of queries right" in capsys.readouterr().out
    assert evaluation.main([*argv, "hidden_size=9"]) == 1
    assert "weight 'core" in capsys.readouterr().err


def test_teaching_makes_the_loss_smaller() -> None:
    argv = ["addition", *SMALL, "--batch", "4", "--learning-rate", "0.01", "--eval-sequences", "1"]
    trainer = Trainer(recipe_from(options_of(argv)), lambda _: None)
    losses: list[float] = []
    for _ in range(2):
        for _ in range(12):
            trainer.advance()
        losses.append(trainer.drain_window()["loss"])
    assert losses[1] < 0.9 * losses[0]


def test_a_task_without_a_verification_set_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = entry_of("addition", tmp_path)
    argv = f"addition --entry {entry} --lengths 1 --sequences 1 --within 0 --verify".split()
    assert evaluation.main(argv) == 1
    assert "addition has no verification set" in capsys.readouterr().err
