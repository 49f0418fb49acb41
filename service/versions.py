"""Which version of a model is the newest."""

from __future__ import annotations

import re


def order(version: str) -> list[tuple[int, int, str]]:
    """A version's place among others: "10" is newer than "9", and "2.10" than "2.9"."""
    parts = re.findall(r"\d+|\D+", version)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts]
