"""`make bench-peers`: this server and others, with the same step and the same sessions, in turns.

python -m tests.bench.peers                                        all, some ten minutes
python -m tests.bench.peers --servers mosec,ntm --workloads single    one ratio, a minute
python -m tests.bench.peers --set NTM_MAX_BATCH=64 --workloads single
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from service.settings import ZOO
from tests.bench.circumstances import circumstances
from tests.bench.peers.contest import run
from tests.bench.peers.environments import version_of
from tests.bench.peers.opened import Kit
from tests.bench.peers.step import exported, for_peers
from tests.bench.peers.workloads import SERVERS, WORKLOADS, chosen

PACKAGES = ("onnxruntime-gpu", "torch", "uvloop", "litestar", "uvicorn")
PEERS = {"mosec": "mosec", "triton": "nvidia-pytriton", "ray": "ray"}


def main(argv: list[str]) -> int:
    """Measure and print what was asked for."""
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        workloads = chosen(args.workloads, args.servers)
    except ValueError as error:
        parser.error(str(error))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # stop the servers
    print(circumstances("tests.bench.peers", argv, PACKAGES), flush=True)
    print("peers: " + ", ".join(f"{of} {version_of(name, of)}" for name, of in PEERS.items()))
    with tempfile.TemporaryDirectory(prefix="peers-") as scratch:
        bundle = exported(Path(args.model))
        kit = Kit(bundle, for_peers(bundle, Path(scratch) / "step"), dict(args.set))
        for name, workload in workloads.items():
            run(name, workload, kit, args.turns, args.seconds)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    workloads, names = ", ".join(WORKLOADS), ", ".join(SERVERS)
    parser.add_argument("--workloads", default="", help=f"of {workloads}; commas between them")
    parser.add_argument("--servers", default="", help=f"of {names}; commas between them")
    parser.add_argument("--turns", type=int, default=5, help="of each server and workload")
    parser.add_argument("--seconds", type=float, default=3, help="of each turn")
    parser.add_argument("--model", default=str(Path(ZOO) / "copy"), help="a zoo entry")
    parser.add_argument(
        "--set", type=_setting, action="append", default=[], help="NTM_X=value, for ours"
    )
    return parser


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and name.startswith("NTM_")):
        raise argparse.ArgumentTypeError(f"expected NTM_X=value, got {text!r}")
    return name, value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
