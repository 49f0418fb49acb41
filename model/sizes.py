"""Sizes that a network is built from."""

import argparse


def require_positive(**sizes: int) -> None:
    """Raises ValueError naming the first size that is not an integer of at least 1."""
    for name, size in sizes.items():
        if type(size) is not int or size < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {size!r}")


def parse_sizes(text: str) -> dict[str, int]:
    """Reads sizes such as columns=512,depth=8. Raises ArgumentTypeError for anything else."""
    try:
        pairs = [part.split("=") for part in text.split(",")]
        return {name: int(value) for name, value in pairs}
    except ValueError:
        message = f"expected sizes like columns=512,depth=8, got {text!r}"
        raise argparse.ArgumentTypeError(message) from None
