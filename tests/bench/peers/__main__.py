"""`make bench-peers`: this server and others, with the same step and the same sessions, in turns.

python -m tests.bench.peers                                        all, some ten minutes
python -m tests.bench.peers --servers mosec,ntm --workloads single    one ratio, a minute
python -m tests.bench.peers --set NTM_MAX_BATCH=64 --workloads single
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import uvloop

from service.settings import ZOO
from tests.bench.circumstances import circumstances
from tests.bench.peers import table
from tests.bench.peers.environments import NotInstalled, version_of
from tests.bench.peers.opened import Kit, opened
from tests.bench.peers.side import Side
from tests.bench.peers.step import exported, for_peers
from tests.bench.peers.wires import inputs_of
from tests.bench.peers.workloads import Workload, chosen
from tests.bench.reference import Reference

PACKAGES = ("onnxruntime-gpu", "torch", "uvloop", "litestar", "uvicorn")
PEERS = {"mosec": "mosec", "triton": "nvidia-pytriton"}


def main(argv: list[str]) -> int:
    """Measure and print what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workloads", default="", help="names with commas between them")
    parser.add_argument("--servers", default="", help="names with commas between them")
    parser.add_argument("--turns", type=int, default=5, help="of each server and workload")
    parser.add_argument("--seconds", type=float, default=3, help="of each turn")
    parser.add_argument("--model", default=str(Path(ZOO) / "copy"), help="a zoo entry")
    parser.add_argument("--set", action="append", default=[], help="NTM_X=value, for ours")
    args = parser.parse_args(argv)
    try:
        workloads = chosen(args.workloads, args.servers)
    except ValueError as error:
        parser.error(str(error))
    settings = dict(each.split("=", 1) for each in args.set)
    print(circumstances("tests.bench.peers", argv, PACKAGES), flush=True)
    print("peers: " + ", ".join(f"{name} {version_of(name, of)}" for name, of in PEERS.items()))
    with tempfile.TemporaryDirectory(prefix="peers-") as scratch:
        bundle = exported(Path(args.model))
        kit = Kit(bundle, for_peers(bundle, Path(scratch) / "step"), settings)
        for name, workload in workloads.items():
            measured(name, workload, kit, args.turns, args.seconds)
    return 0


def measured(name: str, workload: Workload, kit: Kit, turns: int, seconds: float) -> None:
    """One workload's table."""
    reference = Reference(kit.bundle)
    inputs = inputs_of(reference, workload.sessions, workload.rows)
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="peers-") as scratch, ExitStack() as stack:
        sides: list[Side] = []
        for server in workload.servers:
            folder = Path(scratch) / server
            folder.mkdir()
            try:
                running = stack.enter_context(opened(server, kit, folder, workload.rows))
            except NotInstalled as error:
                missing[server] = str(error)
            else:
                sides.append(Side(server, running, inputs))
        uvloop.run(in_turns(sides, turns, seconds))
    print(table.heading(name, workload))
    for side in sides:
        print(table.line(side, sides[0], reference), flush=True)
    for server, why in missing.items():
        print(table.not_run(server, why), flush=True)


async def in_turns(sides: list[Side], turns: int, seconds: float) -> None:
    """A B A B, every other time B A, so that what else runs meets them all alike."""
    for side in sides:
        await side.warm()
    for number in range(turns):
        for side in sides if number % 2 == 0 else reversed(sides):
            await side.turn(seconds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
