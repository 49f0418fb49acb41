"""`ntm export`: a zoo entry's bundle, made, checked or taken to Triton.

Torch is imported where a network is needed, so a bundle goes elsewhere without it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from export import kserve
from export.bundle import MANIFEST, FileEntry, Manifest, read_bundle
from export.errors import BundleError
from export.folders import replaced
from export.manifest import STEP_TORCHSCRIPT, WEIGHTS
from export.triton import write_repository
from model.sizes import CHANGES_HELP, parse_changes

ZOO = Path(__file__).resolve().parent.parent / "model" / "zoo"


def main(argv: Sequence[str]) -> int:
    """Run `ntm export`. Returns 0, or 1 with a message where there is no bundle to be had."""
    args = _parsed(argv)
    try:
        if args.triton:
            print(take_to_triton(args.out or find_bundle(args.entry), args.triton, args.kserve))
            return 0
        entry = find_entry(args.entry)
        folder = args.out or entry / "bundle"
        if args.check:
            return check(entry, folder)
        made = export(entry, folder, args.torchscript, args.weights, args.set)
        print(describe(folder, made))
    except (ValueError, OSError, BundleError) as error:
        print(f"ntm export: {error}", file=sys.stderr)
        return 1
    return 0


def find_entry(name: str) -> Path:
    """The folder `name`, or the zoo entry of that name. Raises ValueError where neither is one."""
    from model.families import CARD

    for folder in (Path(name), ZOO / name):
        if (folder / CARD).is_file():
            return folder
    raise ValueError(
        f"{name!r} should be a folder with a {CARD} or the name of one in {ZOO}, is neither"
    )


def find_bundle(name: str) -> Path:
    """The bundle in the folder `name`, of that entry or of the zoo entry of that name.

    Raises ValueError where there is none.
    """
    for folder in (Path(name), Path(name) / "bundle", ZOO / name / "bundle"):
        if (folder / MANIFEST).is_file():
            return folder
    raise ValueError(f"{name!r} should be a bundle or an entry with one, is neither")


def export(
    entry: Path,
    folder: Path,
    torchscript: bool = False,
    weights: bool = False,
    changes: dict[str, Any] | None = None,
) -> Manifest:
    """Write the bundle of `entry` into `folder`, in place of what is there once all is well.

    changes: of the network's arguments, where no weight depends on them. Raises what `load` and
    `pack` raise, and leaves what was there.
    """
    from export.pack import pack
    from model.families import load

    network, card = load(entry, changes)
    with replaced(folder) as fresh:
        manifest = pack(network, card, fresh, torchscript, weights)
        read_bundle(fresh)
    return manifest


def take_to_triton(bundle_folder: Path, repository: Path, storage_uri: str | None) -> str:
    """Write the bundle's model into a Triton model repository, and where a storage URI is given
    the KServe manifest of it beside. Returns what was written.

    Raises BundleError, and ValueError for a URI that is none.
    """
    bundle = read_bundle(bundle_folder)
    name = bundle.manifest.name
    service = None if storage_uri is None else kserve.manifest(name, storage_uri)
    folder = write_repository(bundle, repository)
    lines = [str(path) for path in sorted(folder.rglob("*")) if path.is_file()]
    if service is not None:
        path = repository / f"{name}.kserve.yaml"
        path.write_text(service, "utf-8")
        lines.append(str(path))
    return "\n".join(lines)


def check(entry: Path, folder: Path) -> int:
    """Export `entry` anew and compare. Returns 0 where the bundle in `folder` is the same."""
    from export.pack import pack
    from model.families import load

    committed = read_bundle(folder).manifest
    with tempfile.TemporaryDirectory() as scratch:
        optional = (file in committed.files for file in (STEP_TORCHSCRIPT, WEIGHTS))
        fresh = pack(*load(entry), Path(scratch), *optional)
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


def _parsed(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ntm export", description=__doc__)
    parser.add_argument("entry", help="a folder with weights and card, or a name in model/zoo")
    parser.add_argument("--out", type=Path, help="where to (default: bundle/ in the entry)")
    parser.add_argument("--torchscript", action="store_true", help="also a TorchScript step")
    parser.add_argument(
        "--weights", action="store_true", help="also the weights, for NTM_RUNTIME=fused"
    )
    parser.add_argument("--set", type=parse_changes, metavar="NAME=VALUE,...", help=CHANGES_HELP)
    parser.add_argument(
        "--check", action="store_true", help="compare the bundle there with a fresh export"
    )
    parser.add_argument(
        "--triton",
        type=Path,
        metavar="REPOSITORY",
        help="write the bundle there as a Triton model repository; no new export, no torch",
    )
    parser.add_argument(
        "--kserve", metavar="URI", help="with --triton: also a KServe manifest of it at this URI"
    )
    args = parser.parse_args(argv)
    if args.kserve and not args.triton:
        parser.error("--kserve goes with --triton")
    if args.set and (args.check or args.triton):
        parser.error("--set makes a new bundle: --check and --triton are for one that is there")
    if args.triton and (args.check or args.torchscript or args.weights):
        parser.error("--triton takes the bundle as it is: the other options are for an export")
    return args
