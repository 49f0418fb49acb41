from pathlib import Path
from typing import Any

import pytest
import torch

from model.entry import make_card, write_entry
from model.families import build
from model.options import options_of, recipe_from
from model.tasks import make_task
from model.trainer import Trainer
from model.transfer import take_over

SIZES = "--memory-size 7 --memory-width 5 --controller-size 6 --compile off".split()


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    """An untrained copy network of seed 8."""
    recipe = recipe_from(options_of(["copy", *SIZES]))
    torch.manual_seed(8)
    weights = build(recipe.family, recipe.network).state_dict()
    write_entry(tmp_path / "copy", make_card(recipe, make_task("copy"), "", {}, {}), weights)
    return tmp_path / "copy"


def network_of(task: str, family: str = "ntm", seed: int = 9) -> Any:
    recipe = recipe_from(options_of([task, "--family", family, *SIZES]))
    torch.manual_seed(seed)
    return build(recipe.family, recipe.network)


def test_all_but_what_the_task_decides_is_taken_over(entry: Path) -> None:
    network, source = network_of("associative-recall"), network_of("copy", seed=8)
    fresh = {name: value.clone() for name, value in network.state_dict().items()}
    taken = take_over(network, "ntm", entry)
    own = network.state_dict()
    left = set(own) - set(taken)
    assert left == {"controller.core.cells.0.weight_ih", "output.weight", "output.bias"}
    assert all(own[name].equal(source.state_dict()[name]) for name in taken)
    assert all(own[name].equal(fresh[name]) for name in left)
    assert not own["heads.read_projection.weight"].equal(fresh["heads.read_projection.weight"])


def test_a_run_begins_with_them(entry: Path) -> None:
    argv = ["repeat-copy", *SIZES, "--start", str(entry), "--eval-sequences", "2"]
    said: list[str] = []
    trainer = Trainer(recipe_from(options_of(argv)), said.append)
    source = network_of("copy", seed=8).state_dict()
    assert trainer.network.state_dict()["initial_reads"].equal(source["initial_reads"])
    assert any(f"weights of {entry}" in line for line in said)


def test_what_cannot_be_taken_over_is_told(entry: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected an entry of family 'lstm'.*got ntm"):
        take_over(network_of("copy", "lstm"), "lstm", entry)
    with pytest.raises(ValueError, match="is no card"):
        take_over(network_of("copy"), "ntm", tmp_path / "absent")
    with pytest.raises(ValueError, match="no weight of"):
        take_over(torch.nn.Linear(3, 2), "ntm", entry)
    (entry / "weights.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="holds no weights"):
        take_over(network_of("copy"), "ntm", entry)
