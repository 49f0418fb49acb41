"""Zoo entries as training and evaluation write them: weights.safetensors and card.json."""

import json
import platform
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import save
from torch import Tensor

from model.checkpoint import write_atomically
from model.families import CARD, WEIGHTS, Card, read_card
from model.recipe import Recipe
from model.tasks import Task

# What of a recipe does not shape the weights, or stands in the card already.
NOT_TOLD = (
    "task",
    "family",
    "network",
    "name",
    "seed",
    "out",
    "checkpoint_every",
    "log_every",
    "tensorboard",
    "test_sequences",
    "test_within",
)


def make_card(
    recipe: Recipe, task: Task, command: str, results: dict[str, Any], training: dict[str, Any]
) -> dict[str, Any]:
    """The card of weights that `command` trained, as JSON holds it."""
    card = Card(
        name=recipe.name,
        version="1",
        family=recipe.family,
        task=recipe.task,
        network=recipe.network,
        activation=task.activation,
        form=task.form,
        command=command,
        seed=recipe.seed,
        results=results,
    )
    told = {
        name: value for name, value in msgspec.to_builtins(recipe).items() if name not in NOT_TOLD
    }
    versions = {"python": platform.python_version(), "torch": torch.__version__.split("+")[0]}
    return {**msgspec.to_builtins(card), "training": {**told, **training}, "versions": versions}


def write_entry(folder: Path, card: dict[str, Any], weights: dict[str, Tensor]) -> None:
    """Writes both files, the card last: a folder with a card is complete."""
    content = save({name: tensor.contiguous() for name, tensor in weights.items()})
    write_atomically(folder / WEIGHTS, lambda file: file.write(content))
    write_card(folder, card)


def update_results(folder: Path, results: dict[str, Any]) -> None:
    """Replaces the results in a card and keeps all else. Raises ValueError for no card."""
    read_card(folder)
    card = json.loads((folder / CARD).read_bytes())
    write_card(folder, {**card, "results": results})


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Writes card.json, indented, for people."""
    text = json.dumps(card, indent=2) + "\n"
    write_atomically(folder / CARD, lambda file: file.write(text.encode()))
