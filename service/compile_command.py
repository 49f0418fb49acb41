"""`ntm compile`: a model's step as native code for this machine, into its own cache.

It is made of an entry's weights, not of a bundle, and proven against both: each step within 1e-5
of eager torch's over 1,000 steps, and every row bit-equal in whatever batch it runs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from export.bundle import STEP_ONNX, Bundle, BundleError, read_bundle
from model.rows import is_sparse
from service.engine.compiled import (
    CARD,
    STEP,
    Compiled,
    NotCompiled,
    cache_folder,
    find,
    folder_of,
    read_card,
    torch_version,
)
from service.engine.runtime import BackendError, Runtime
from service.environ import SettingsError
from service.settings import Settings

NO_OTHERS = 0o700


def main(argv: Sequence[str]) -> int:
    """Run `ntm compile`. Returns 0, 1 where it cannot be done, 2 for unusable settings."""
    args = parser().parse_args(argv)
    try:
        settings = Settings.from_env(os.environ)
        entry, bundle = find_model(args.entry, args.bundle)
        folder = folder_of(cache_folder(settings.cache), bundle.fingerprint)
        if args.anew or not _is_there(settings, bundle):
            build(entry, bundle, folder, settings)
        print(describe(folder, read_card(folder)))
    except SettingsError as error:
        print(f"ntm compile: {error}", file=sys.stderr)
        return 2
    except (ValueError, OSError, BundleError, BackendError, NotCompiled) as error:
        print(f"ntm compile: {error}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """What `ntm compile` takes."""
    made = argparse.ArgumentParser(prog="ntm compile", description=__doc__)
    made.add_argument("entry", help="a folder with weights and card, or a name in model/zoo")
    made.add_argument("--bundle", type=Path, help="that is served (default: the entry's bundle/)")
    made.add_argument("--anew", action="store_true", help="also where one is there already")
    return made


def find_model(name: str, bundle: Path | None) -> tuple[Path, Bundle]:
    """An entry's folder and its bundle. Raises ValueError and BundleError."""
    from export.command import find_entry

    entry = find_entry(name)
    return entry, read_bundle(bundle or entry / "bundle")


def build(entry: Path, bundle: Bundle, folder: Path, settings: Settings) -> None:
    """Compile the step, prove it and put it into `folder`, in place of what is there.

    Raises ValueError without a compiler, ParityError where the bundle's step or the compiled one is
    not that of the entry's weights, and BackendError where a row depends on its batch.
    """
    from export import aot, parity
    from export.folders import replaced
    from export.step import StepModule
    from model.families import load

    aot.require_compiler()
    network, card = load(entry)
    step = StepModule(network, card.activation)
    if step.state_spec != bundle.manifest.state:
        raise ValueError(f"{bundle.folder} is not of {entry}: its state is another")
    if is_sparse(step.state_spec):
        raise ValueError(f"{entry} has sparsely updated state, which is stepped on ONNX Runtime")
    parity.measure(step, parity.onnx_stepper(bundle.read(STEP_ONNX), step), STEP_ONNX)
    for made in (folder.parent.parent, folder.parent):
        made.mkdir(mode=NO_OTHERS, parents=True, exist_ok=True)
    with replaced(folder) as fresh:
        fresh.chmod(NO_OTHERS)
        begun = time.monotonic()
        aot.to_aot(step, fresh / STEP)
        took = time.monotonic() - begun
        stepper = aot.aot_stepper(fresh / STEP)
        parity.measure(step, stepper, STEP)
        long = parity.follow(step, stepper, STEP)
        _try(fresh / STEP, bundle, settings)
        _write_card(fresh, bundle, took, long)


def describe(folder: Path, card: Compiled) -> str:
    """What was built, in a few lines."""
    return (
        f"{folder / STEP}: {card.name} version {card.version}, {card.nbytes} bytes, compiled in "
        f"{card.compile_s:.0f} s for torch {card.torch}\n"
        f"max |difference| from eager torch over {card.rows} rows: {card.parity:.1e} a step, "
        f"{card.drift:.1e} where each goes on from its own state"
    )


def _is_there(settings: Settings, bundle: Bundle) -> bool:
    try:
        find(cache_folder(settings.cache), bundle.fingerprint)
    except NotCompiled:
        return False
    return True


def _try(path: Path, bundle: Bundle, settings: Settings) -> None:
    """Serve with it in this process: raises BackendError where a row depends on its batch."""
    from service.engine.aot import Aot

    manifest, initial = bundle.manifest, list(bundle.initial_state().values())
    backend, width = Aot(path, manifest.state, settings.threads), manifest.input.dims[0]
    Runtime(backend, manifest.state, width, 3, settings.max_batch, initial)


def _write_card(folder: Path, bundle: Bundle, took: float, long: tuple[float, float]) -> None:
    from export.parity import LONG

    data, manifest = (folder / STEP).read_bytes(), bundle.manifest
    card = Compiled(
        bundle=bundle.fingerprint,
        name=manifest.name,
        version=manifest.version,
        torch=torch_version(),
        sha256=hashlib.sha256(data).hexdigest(),
        nbytes=len(data),
        compile_s=round(took, 1),
        parity=long[0],
        drift=long[1],
        rows=LONG,
    )
    for name in (STEP, CARD):
        (folder / name).touch(mode=0o600)
    (folder / CARD).write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=2))
    for name in (STEP, CARD):
        (folder / name).chmod(0o600)
