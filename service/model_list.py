"""`ntm models`: the bundles in the configured folders, each checked against its hashes."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from export.bundle import BundleError, read_bundle
from service.environ import SettingsError
from service.folders import find_bundles
from service.settings import Settings

COLUMNS = ("name", "version", "family", "task", "input", "output", "files", "folder")


def main(argv: list[str]) -> int:
    """Print a line a bundle. 1 where one cannot be served, 2 where the settings are unusable."""
    folders = parser().parse_args(argv).folder
    try:
        found = find_bundles(folders or Settings.from_env(os.environ).models)
    except (SettingsError, BundleError) as error:
        print(f"ntm models: {error}", file=sys.stderr)
        return 2 if isinstance(error, SettingsError) else 1
    lines: list[tuple[str, ...]] = [COLUMNS]
    broken: list[BundleError] = []
    for folder in found:
        try:
            lines.append(_line(folder))
        except BundleError as error:
            broken.append(error)
    print(_table(lines))
    for error in broken:
        print(f"ntm models: {error}", file=sys.stderr)
    return 1 if broken else 0


def parser() -> argparse.ArgumentParser:
    """What `ntm models` takes."""
    made = argparse.ArgumentParser(
        prog="ntm models", description="List the models in the folders of NTM_MODELS."
    )
    made.add_argument("folder", nargs="*", help="look here instead")
    return made


def _table(lines: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        (f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines
    )
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def _line(folder: Path) -> tuple[str, ...]:
    manifest = read_bundle(folder).manifest
    sizes = ("x".join(map(str, spec.dims)) for spec in (manifest.input, manifest.output))
    files = ",".join(sorted(manifest.files))
    return (
        manifest.name, manifest.version, manifest.family, manifest.task, *sizes, files, str(folder)
    )  # fmt: skip
