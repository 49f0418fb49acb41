"""The servers of one workload, up at once and asked in turns, so that what else runs on the machine
meets them all alike."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import uvloop

from tests.bench.peers import table
from tests.bench.peers.environments import NotRun
from tests.bench.peers.opened import Kit, opened
from tests.bench.peers.side import Side
from tests.bench.peers.started import Running
from tests.bench.peers.wires import inputs_of
from tests.bench.peers.workloads import BASE, Workload
from tests.bench.reference import Reference


def run(name: str, workload: Workload, kit: Kit, turns: int, seconds: float) -> None:
    """Print a workload's tables. The servers are stopped before answers are checked."""
    reference = Reference(kit.bundle)
    inputs = inputs_of(reference, workload.sessions, workload.rows)
    with tempfile.TemporaryDirectory(prefix="peers-") as scratch, ExitStack() as stack:
        missing: dict[str, str] = {}
        sides: list[Side] = []
        for server in workload.servers:
            try:
                running = _entered(server, kit, Path(scratch) / server, workload.rows, stack)
            except NotRun as error:
                missing[server] = str(error)
            else:
                sides.append(Side(server, running, inputs))
        uvloop.run(_in_turns(sides, turns, seconds))
        lines = [table.line(side, _base(sides)) for side in sides]
        at_half = _at_half(sides, turns, seconds) if workload.paced and sides else []
    verdicts = (table.verdict(side, reference) for side in sides)
    print(table.heading(name, workload))
    for line, verdict in zip(lines, verdicts, strict=True):
        print(f"{line} {verdict} |", flush=True)
    for line in [*(table.not_run(*each) for each in missing.items()), *at_half]:
        print(line, flush=True)


def _entered(server: str, kit: Kit, folder: Path, rows: int, stack: ExitStack) -> Running:
    folder.mkdir()
    return stack.enter_context(opened(server, kit, folder, rows))


def _base(sides: list[Side]) -> Side | None:
    """What ratios are to, where it runs."""
    return next((side for side in sides if side.name == BASE), None)


def _at_half(sides: list[Side], turns: int, seconds: float) -> list[str]:
    """Two tables at an even pace: all at half of what the slowest answered at most, and each at
    half of its own."""
    tops = [float(np.median(side.rates)) for side in sides]
    paces = {
        "all at half of what the slowest answered": [min(tops) / 2] * len(sides),
        "each at half of what it answered itself": [top / 2 for top in tops],
    }
    lines: list[str] = []
    for what, rates in paces.items():
        for side in sides:
            side.begin_anew()
        uvloop.run(_in_turns(sides, turns, seconds, rates))
        lines.append(table.pace_heading(what))
        pairs = zip(sides, rates, strict=True)
        lines += [table.pace_line(side, _base(sides), rate) for side, rate in pairs]
    return lines


async def _in_turns(
    sides: list[Side], turns: int, seconds: float, rates: list[float] | None = None
) -> None:
    """A B A B, every other time B A; as many requests as are answered where no rates are given."""
    for side in sides:
        await side.warm()
    both = list(zip(sides, rates or [None] * len(sides), strict=True))
    for number in range(turns):
        for side, rate in both if number % 2 == 0 else reversed(both):
            await side.turn(seconds, rate)
