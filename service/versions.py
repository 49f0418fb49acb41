"""Which version of a model is the newest, and which this package is."""

from __future__ import annotations

import re
from importlib import metadata


def order(version: str) -> list[tuple[int, int, str]]:
    """A version's place among others: "10" is newer than "9", and "2.10" than "2.9"."""
    parts = re.findall(r"\d+|\D+", version)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts]


def package_version() -> str:
    """The installed package's version."""
    try:
        return metadata.version("ntm-serve")
    except metadata.PackageNotFoundError:
        return "unknown"
