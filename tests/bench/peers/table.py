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


def ratios(rates: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Turn by turn."""
    return rates / base


def heading(name: str, workload: Workload) -> str:
    """Of a workload's table."""
    head = " | ".join(COLUMNS)
    return f"\n{name}: {workload.title}\n\n| {head} |\n|{'---|' * len(COLUMNS)}"


def line(side: Side, base: Side, reference: Reference) -> str:
    """Of a server."""
    p50, p99 = side.percentiles()
    each = ratios(side.rates, base.rates)
    cells = [
        side.name,
        f"{np.median(side.rates):,.0f}",
        f"{np.median(each):.2f}",
        " ".join(f"{ratio:.2f}" for ratio in each),
        f"{p50:.2f}",
        f"{p99:.2f}",
        f"{side.server_ms / side.requests:.3f}",
        f"{side.own_ms / side.requests:.3f}",
        f"{side.resident_mb:,.0f}",
        verdict(side, reference),
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
