"""`make bench`: measures and prints tables; asserts nothing but that the answers are right.

python -m tests.bench                 everything, some ten minutes
python -m tests.bench runtime http    some sections
python -m tests.bench http --seconds 10
python -m tests.bench stores --sessions 1000
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from service.settings import ZOO
from tests.bench import alone, engine, http, known, runtimes, scaling, stores
from tests.bench.circumstances import circumstances

SECTIONS = ("runtime", "engine", "alone", "http", "stores", "known", "scaling")
PACKAGES = ("onnxruntime-gpu", "torch", "litestar", "redis")


def main(argv: list[str]) -> int:
    """Run the sections asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--seconds", type=float, default=5, help="of each HTTP measurement")
    parser.add_argument("--sessions", type=int, default=10_000, help="of stores, beside 64")
    parser.add_argument("--known", type=int, default=1_000_000, help="sessions of that section")
    parser.add_argument("--model", default=str(Path(ZOO) / "copy"), help="a zoo entry")
    args = parser.parse_args(argv)
    chosen = args.sections or SECTIONS
    if unknown := set(chosen) - set(SECTIONS):
        parser.error(f"expected of {', '.join(SECTIONS)}, got {', '.join(sorted(unknown))}")
    print(circumstances("tests.bench", argv, PACKAGES), flush=True)
    for name in chosen:
        if name == "runtime":
            runtimes.report(Path(args.model), args.seconds)
        elif name == "engine":
            engine.report(Path(args.model), args.seconds)
        elif name == "alone":
            alone.report(Path(args.model), args.seconds)
        elif name == "http":
            http.report(Path(args.model), args.seconds)
        elif name == "scaling":
            scaling.report(Path(args.model), args.seconds)
        elif name == "known":
            known.report(Path(args.model), args.known)
        else:
            stores.report(Path(args.model), args.seconds, args.sessions)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
