"""`ntm export`: a zoo entry's bundle, made or checked."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from export.bundle import FileEntry, Manifest, read_bundle
from export.errors import BundleError
from export.manifest import STEP_TORCHSCRIPT
from export.pack import pack
from model.families import CARD, load

ZOO = Path(__file__).resolve().parent.parent / "model" / "zoo"


def main(argv: Sequence[str]) -> int:
    """Run `ntm export`. Returns 0, or 1 with a message where there is no bundle to be had."""
    args = _parser().parse_args(argv)
    try:
        entry = find_entry(args.entry)
        folder = args.out or entry / "bundle"
        if args.check:
            return check(entry, folder)
        print(describe(folder, export(entry, folder, args.torchscript)))
    except (ValueError, OSError, BundleError) as error:
        print(f"ntm export: {error}", file=sys.stderr)
        return 1
    return 0


def find_entry(name: str) -> Path:
    """The folder `name`, or the zoo entry of that name. Raises ValueError where neither is one."""
    for folder in (Path(name), ZOO / name):
        if (folder / CARD).is_file():
            return folder
    raise ValueError(
        f"{name!r} should be a folder with a {CARD} or the name of one in {ZOO}, is neither"
    )


def export(entry: Path, folder: Path, torchscript: bool = False) -> Manifest:
    """Write the bundle of `entry` into `folder`, in place of what is there once all is well.

    Raises what `load` and `pack` raise, and leaves what was there.
    """
    network, card = load(entry)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir()
        manifest = pack(network, card, fresh, torchscript)
        read_bundle(fresh)
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        fresh.rename(folder)
    return manifest


def check(entry: Path, folder: Path) -> int:
    """Export `entry` anew and compare. Returns 0 where the bundle in `folder` is the same."""
    committed = read_bundle(folder).manifest
    with tempfile.TemporaryDirectory() as scratch:
        fresh = pack(*load(entry), Path(scratch), STEP_TORCHSCRIPT in committed.files)
    different = differences(committed, fresh)
    for line in different:
        print(f"{folder}: {line}")
    if not different:
        print(f"{folder} is what {entry} exports")
    return 1 if different else 0


def differences(committed: Manifest, fresh: Manifest) -> list[str]:
    """What of two manifests differs, a line each. Parity is measured, so it may."""
    lines: list[str] = []
    for file in sorted(committed.files.keys() | fresh.files.keys()):
        old, new = committed.files.get(file), fresh.files.get(file)
        if old != new:
            lines.append(f"{file} is {_short(old)}, a fresh export gives {_short(new)}")
    before, after = msgspec.to_builtins(committed), msgspec.to_builtins(fresh)
    for field in before.keys() - {"files", "parity", "drift"}:
        if before[field] != after[field]:
            lines.append(f"{field} is {before[field]}, a fresh export gives {after[field]}")
    return lines


def describe(folder: Path, manifest: Manifest) -> str:
    """A short table of a bundle's files."""
    lines = [
        f"{folder}: {manifest.name} version {manifest.version}, family {manifest.family}",
        f"{'file':<26} {'bytes':>9}  {'sha256':<12}  max |difference| from torch",
    ]
    for name, entry in manifest.files.items():
        parity = f"{manifest.parity[name]:.1e}" if name in manifest.parity else "-"
        lines.append(f"{name:<26} {entry.nbytes:>9}  {entry.sha256[:12]}  {parity}")
    return "\n".join(lines)


def _short(entry: FileEntry | None) -> str:
    return entry.sha256[:12] if entry else "missing"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ntm export", description=__doc__)
    parser.add_argument("entry", help="a folder with weights and card, or a name in model/zoo")
    parser.add_argument("--out", type=Path, help="where to (default: bundle/ in the entry)")
    parser.add_argument("--torchscript", action="store_true", help="also a TorchScript step")
    parser.add_argument(
        "--check", action="store_true", help="compare the bundle there with a fresh export"
    )
    return parser
