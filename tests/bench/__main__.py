"""`make bench`: measures and prints tables; asserts nothing but that the answers are right.

python -m tests.bench                 everything, some ten minutes
python -m tests.bench runtime http    some sections
python -m tests.bench http --seconds 10
python -m tests.bench stores --sessions 1000
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from service.settings import ZOO
from tests.bench import (
    alone,
    engine,
    explorer,
    frames,
    http,
    known,
    runtimes,
    scaling,
    sparse,
    stores,
    training,
)
from tests.bench.circumstances import circumstances

PACKAGES = ("onnxruntime-gpu", "torch", "litestar", "redis")


def main(argv: list[str]) -> int:
    """Run the sections asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "sections",
        nargs="*",
        metavar="SECTION",
        help="of runtime, engine, alone, http, stores, known, scaling, explorer, frames, sparse,"
        " training",
    )
    parser.add_argument("--seconds", type=float, default=5, help="of each HTTP measurement")
    parser.add_argument("--sessions", type=int, default=10_000, help="of stores, beside 64")
    parser.add_argument("--known", type=int, default=1_000_000, help="sessions of that section")
    parser.add_argument("--model", default=str(Path(ZOO) / "copy"), help="a zoo entry")
    args = parser.parse_args(argv)
    entry, seconds = Path(args.model), args.seconds
    sections: dict[str, Callable[[], None]] = {
        "runtime": lambda: runtimes.report(entry, seconds),
        "engine": lambda: engine.report(entry, seconds),
        "alone": lambda: alone.report(entry, seconds),
        "http": lambda: http.report(entry, seconds),
        "stores": lambda: stores.report(entry, seconds, args.sessions),
        "known": lambda: known.report(entry, args.known),
        "scaling": lambda: scaling.report(entry, seconds),
        "explorer": lambda: explorer.report(entry, seconds),
        "frames": lambda: frames.report(entry, seconds),
        "training": lambda: training.report(seconds),
        "sparse": lambda: sparse.report(entry, seconds),
    }
    chosen = args.sections or list(sections)
    if unknown := set(chosen) - set(sections):
        parser.error(f"expected of {', '.join(sections)}, got {', '.join(sorted(unknown))}")
    print(circumstances("tests.bench", argv, PACKAGES), flush=True)
    for name in chosen:
        sections[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
