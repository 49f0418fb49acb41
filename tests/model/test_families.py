from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from model.families import CARD, FAMILIES, WEIGHTS, Card, build, load, read_card

CONFIG = {"input_size": 6, "output_size": 4, "memory_size": 7, "memory_width": 5}
CONFIGS = {
    "ntm": CONFIG,
    "dnc": CONFIG,
    "mann": CONFIG,
    "sam": CONFIG,
    "lstm": {"input_size": 6, "output_size": 4, "hidden_size": 7},
    "npi": {"input_size": 30, "output_size": 29, "environment": "addition"},
    "nram": {"integers": 5},
}


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    torch.manual_seed(4)
    save_file(build("ntm", CONFIG).state_dict(), tmp_path / WEIGHTS)
    card = Card(
        name="tiny",
        version="1",
        family="ntm",
        task="copy",
        network=CONFIG,
        activation="sigmoid",
        form={"kind": "bits"},
        command="ntm train copy",
        seed=4,
    )
    (tmp_path / CARD).write_bytes(msgspec.json.encode(card))
    return tmp_path


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_built_by_its_name(family: str) -> None:
    network, config = cast(Any, build(family, CONFIGS[family])), CONFIGS[family]
    sizes = (config.get("input_size", 1), config.get("output_size", 3))  # a machine's, always
    assert (network.family, network.input_size, network.output_size) == (family, *sizes)
    assert [len(spec.name) > 0 for spec in network.state_spec]


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ValueError, match=r"family must be one of .*'ntm'.*, got 'perceptron'"):
        build("perceptron", CONFIG)


def test_arguments_a_family_does_not_take_are_refused() -> None:
    with pytest.raises(ValueError, match="does not take"):
        build("ntm", CONFIG | {"depth": 3})


def test_a_loaded_network_has_the_weights_of_its_entry_and_is_not_in_training(entry: Path) -> None:
    network, card = load(entry)
    torch.manual_seed(4)
    want = build("ntm", CONFIG).state_dict()
    module = cast(nn.Module, network)
    assert not module.training
    assert all(torch.equal(tensor, want[name]) for name, tensor in module.state_dict().items())
    assert card == read_card(entry)


def test_sizes_that_no_weight_depends_on_can_be_others_than_the_cards(tmp_path: Path) -> None:
    config = CONFIGS["npi"]
    save_file(build("npi", config).state_dict(), tmp_path / WEIGHTS)
    told = {"name": "adder", "version": "1", "family": "npi", "task": "addition"}
    more = {"activation": "sigmoid", "form": {}, "command": "none", "seed": 1, "network": config}
    (tmp_path / CARD).write_bytes(msgspec.json.encode(told | more))
    network, card = load(tmp_path, {"columns": 9, "depth": 3})
    assert network.state_spec[0].dims == (4, 9) and card.network == config | {
        "columns": 9,
        "depth": 3,
    }
    with pytest.raises(ValueError, match="weight 'core"):
        load(tmp_path, {"hidden_size": 9})


def change_weights(entry: Path, **changes: Tensor | None) -> None:
    weights = build("ntm", CONFIG).state_dict() | {
        name.replace("__", "."): tensor for name, tensor in changes.items()
    }
    save_file(
        {name: tensor for name, tensor in weights.items() if tensor is not None}, entry / WEIGHTS
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output__bias": None}, r"weights lack \['output.bias'\] and have \[\] too many"),
        ({"stray": torch.zeros(3)}, r"weights lack \[\] and have \['stray'\] too many"),
        ({"output__bias": torch.zeros(5)}, r"'output.bias' should be .* \(4,\), got .* \(5,\)"),
        ({"output__bias": torch.zeros(4, dtype=torch.float64)}, "got torch.float64"),
        ({"output__bias": torch.full((4,), torch.nan)}, "'output.bias' should be finite"),
    ],
)
def test_weights_that_are_not_exactly_the_networks_are_refused(
    entry: Path, changes: dict[str, Tensor | None], message: str
) -> None:
    change_weights(entry, **changes)
    with pytest.raises(ValueError, match=message):
        load(entry)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"name": "tiny"}', b"[" * 100_000])
def test_a_card_that_is_none_is_refused(entry: Path, data: bytes) -> None:
    (entry / CARD).write_bytes(data)
    with pytest.raises(ValueError, match="is no card"):
        read_card(entry)
