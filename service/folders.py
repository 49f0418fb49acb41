"""Where bundles are looked for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from export.bundle import MANIFEST, BundleMissing, FileOutside


def find_bundles(folders: Iterable[str]) -> list[Path]:
    """The bundles that configured folders stand for, in order of their names.

    A folder is a bundle, holds bundles, or is a zoo of <name>/bundle. It may be a link itself, for
    it was configured; what lies in it may not lead out of it. Raises BundleMissing for one that is
    not there or has none, FileOutside for a link out of it.
    """
    found: list[Path] = []
    for text in folders:
        folder = Path(text)
        bundles = _bundles_of(folder)
        if not bundles:
            raise BundleMissing(f"no bundle in {folder}: expected a folder with a {MANIFEST}")
        found += bundles
    return found


def _bundles_of(folder: Path) -> list[Path]:
    if (folder / MANIFEST).is_file():
        return [folder]
    if not folder.is_dir():
        return []
    candidates = (
        place for child in sorted(folder.iterdir()) for place in (child, child / "bundle")
    )
    found = [place for place in candidates if (place / MANIFEST).is_file()]
    inside = folder.resolve()
    for place in found:
        if not place.resolve().is_relative_to(inside):
            raise FileOutside(f"{place} should lie in {folder}, leads to {place.resolve()}")
    return found
