"""Where bundles are looked for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from export.bundle import MANIFEST, BundleMissing


def find_bundles(folders: Iterable[str]) -> list[Path]:
    """The bundles that configured folders stand for, in order of their names.

    A folder is a bundle, holds bundles, or is a zoo of <name>/bundle. Raises BundleMissing for
    one that is not there or has none.
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
    return [place for place in candidates if (place / MANIFEST).is_file()]
