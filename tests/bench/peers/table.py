"""What is printed."""

from __future__ import annotations

import numpy as np

from tests.bench.peers.side import Side
from tests.bench.peers.workloads import BASE, Workload
from tests.bench.reference import Reference

COLUMNS = (
    "server",
    "requests/s",
    f"to {BASE}",
    "of each turn",
    "p50 ms",
    "p99 ms",
    "server CPU ms a request",
    "generator's",
    "RSS MB",
    "wrong",
)
PACE_COLUMNS = (
    "server",
    "asked requests/s",
    "answered",
    "p50 ms",
    "p99 ms",
    "of each turn",
    f"p99 to {BASE}",
    "server CPU ms a request",
    "generator's",
)


def ratios(values: np.ndarray, base: np.ndarray | None) -> tuple[str, str]:
    """The median of the turns' ratios, and each of them; dashes where there is no base."""
    if base is None:
        return "-", "-"
    each = values / base
    return f"{np.median(each):.2f}", " ".join(f"{ratio:.2f}" for ratio in each)


def heading(name: str, workload: Workload) -> str:
    """Of a workload's table."""
    return _heading(f"{name}: {workload.title}", COLUMNS)


def pace_heading(what: str) -> str:
    """Of a table at an even pace."""
    return _heading(what, PACE_COLUMNS)


def pace_line(side: Side, base: Side | None, rate: float) -> str:
    """Of a server at this pace, before its answers are checked."""
    p50, p99 = side.percentiles()
    median, _ = ratios(side.p99s, base and base.p99s)
    cells = [
        side.name,
        f"{rate:,.0f}",
        f"{np.median(side.rates):,.0f}",
        f"{p50:.2f}",
        f"{p99:.2f}",
        " ".join(f"{value:.2f}" for value in side.p99s),
        median,
        f"{side.server_ms / side.requests:.3f}",
        f"{side.own_ms / side.requests:.3f}",
    ]
    return f"| {' | '.join(cells)} |"


def _heading(what: str, columns: tuple[str, ...]) -> str:
    return f"\n{what}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}"


def line(side: Side, base: Side | None) -> str:
    """Of a server, without its verdict."""
    p50, p99 = side.percentiles()
    median, each = ratios(side.rates, base and base.rates)
    cells = [
        side.name,
        f"{np.median(side.rates):,.0f}",
        median,
        each,
        f"{p50:.2f}",
        f"{p99:.2f}",
        f"{side.server_ms / side.requests:.3f}",
        f"{side.own_ms / side.requests:.3f}",
        f"{side.resident_mb:,.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def not_run(name: str, why: str) -> str:
    """Of a server that could not be had."""
    return f"| {name} | not run: {why} |{' |' * (len(COLUMNS) - 2)}"


def verdict(side: Side, reference: Reference) -> str:
    """How many answers were wrong, in words where any was."""
    wrong, sessions = side.wrong(reference), side.sessions
    told = f"{wrong} of {sessions.checked:,}"
    if sessions.failed:
        status = sessions.failure.split(b"\r\n", 1)[0].decode("latin-1")
        told += f", {sessions.failed} refused ({status})"
    return f"**WRONG ANSWERS**: {told}" if wrong else told
