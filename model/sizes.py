"""Sizes and other arguments that a network is built from. No torch."""

import argparse
import json
from typing import Any

CHANGES_HELP = "of the network, where no weight depends on it, e.g. columns=3072 or discrete=true"


def require_positive(**sizes: int) -> None:
    """Raises ValueError naming the first size that is not an integer of at least 1."""
    for name, size in sizes.items():
        if type(size) is not int or size < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {size!r}")


def parse_changes(text: str) -> dict[str, Any]:
    """Reads constructor's arguments such as columns=512,depth=8 or discrete=true, each value JSON.

    Raises ArgumentTypeError for anything else.
    """
    try:
        pairs = [part.split("=") for part in text.split(",")]
        return {name: json.loads(value) for name, value in pairs}
    except ValueError:
        message = f"expected names and JSON like columns=512,discrete=true, got {text!r}"
        raise argparse.ArgumentTypeError(message) from None
