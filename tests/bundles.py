"""A bundle of an untrained network, for tests that serve one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch

from export.manifest import Manifest
from export.pack import pack
from model.families import Activation, Card, Network, build

COPY_SIZES = {"input_size": 9, "output_size": 8, "memory_size": 128, "memory_width": 20}


def make_bundle(
    folder: Path,
    *,
    name: str = "copy",
    version: str = "1",
    activation: Activation = "sigmoid",
    torchscript: bool = False,
    seed: int = 1,
    family: str = "ntm",
    **network_kwargs: Any,
) -> Manifest:
    """Write a bundle into `folder`, made if need be; the copy model's sizes unless others are
    given. The same seed gives the same weights."""
    config = network_kwargs or COPY_SIZES
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = cast(Network, build(family, config))
    card = Card(
        name=name,
        version=version,
        family=family,
        task="copy",
        network=config,
        activation=activation,
        form={"kind": "bits", "width": config["input_size"] - 1, "flags": ["delimiter"]},
        command="none: untrained",
        seed=seed,
    )
    folder.mkdir(parents=True, exist_ok=True)
    return pack(network, card, folder, torchscript)
