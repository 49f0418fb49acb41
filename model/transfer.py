"""Starting from what another task taught."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from model.families import WEIGHTS, read_card


@torch.no_grad()
def take_over(network: nn.Module, family: str, entry: Path) -> tuple[str, ...]:
    """Copies every weight of `entry` that the network has in the same shape; their names.

    What a task's own sizes decide (its inputs and outputs) differs in shape and stays fresh.
    Raises ValueError for no entry, one of another family, or where no weight fits.
    """
    card = read_card(entry)
    if card.family != family:
        raise ValueError(f"expected an entry of family {family!r} to start from, got {card.family}")
    try:
        found = load_file(entry / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{entry / WEIGHTS} holds no weights: {error}") from error
    own = network.state_dict()
    fitting = [name for name, value in own.items() if _shape(found, name) == value.shape]
    if not fitting:
        raise ValueError(f"no weight of {entry} has the name and shape of one of the network's")
    for name in fitting:
        own[name].copy_(found[name])
    return tuple(fitting)


def _shape(weights: dict[str, torch.Tensor], name: str) -> torch.Size | None:
    return weights[name].shape if name in weights else None
