"""A bundle of an untrained network, for tests that serve one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import torch
from torch import nn

from export.manifest import Manifest
from export.pack import pack
from model.entry import write_entry
from model.families import Activation, Card, Network, build

COPY_SIZES = {"input_size": 9, "output_size": 8, "memory_size": 128, "memory_width": 20}


def make_bundle(
    folder: Path,
    *,
    name: str = "copy",
    version: str = "1",
    activation: Activation = "sigmoid",
    torchscript: bool = False,
    weights: bool = False,
    seed: int = 1,
    family: str = "ntm",
    **network_kwargs: Any,
) -> Manifest:
    """Write a bundle into `folder`, made if need be; the copy model's sizes unless others are
    given. The same seed gives the same weights."""
    network, card = _untrained(name, version, activation, seed, family, network_kwargs)
    folder.mkdir(parents=True, exist_ok=True)
    return pack(network, card, folder, torchscript, weights)


def make_network(family: str = "ntm", seed: int = 1, **network_kwargs: Any) -> Network:
    """The network of `make_bundle` with the same arguments."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return cast(Network, build(family, network_kwargs or COPY_SIZES))


def make_bundles(folder: Path, family: str, sizes: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write a bundle of each of the named sizes into `folder`, TorchScript with it."""
    for name, given in sizes.items():
        make_bundle(folder / name, name=name, family=family, torchscript=True, **given)
    return folder


def make_entry(
    folder: Path, *, seed: int = 1, bundle: bool = True, family: str = "ntm", **network_kwargs: Any
) -> Path:
    """Write an entry with the weights of `make_bundle` with the same arguments, and its bundle."""
    network, card = _untrained("copy", "1", "sigmoid", seed, family, network_kwargs)
    weights = cast(nn.Module, network).state_dict()
    (folder / "bundle").mkdir(parents=True)
    write_entry(folder, msgspec.to_builtins(card), weights)
    if bundle:
        pack(network, card, folder / "bundle")
    return folder


def _untrained(
    name: str,
    version: str,
    activation: Activation,
    seed: int,
    family: str,
    network_kwargs: dict[str, Any],
) -> tuple[Network, Card]:
    config = network_kwargs or COPY_SIZES
    network = make_network(family, seed, **network_kwargs)
    card = Card(
        name=name,
        version=version,
        family=family,
        task="copy",
        network=config,
        activation=activation,
        form={"kind": "bits", "width": config.get("input_size", 2) - 1, "flags": ["delimiter"]},
        command="none: untrained",
        seed=seed,
    )
    return network, card
