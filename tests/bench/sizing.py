"""How many of everything a load takes, worked out from what a step and a session cost.

python -m tests.bench.sizing        prints the table of deploy/README.md
"""

from __future__ import annotations

import math
import sys
from typing import NamedTuple

# Measured by `python -m tests.bench scaling`; deploy/README.md names the machine.
FRONT_S, ENGINE_S, REDIS_S, HAPROXY_S = 131e-6, 193e-6, 58e-6, 65e-6  # of a core, a step
TO_REDIS_BYTES, LOG_BYTES, HTTP_BYTES = 2_684, 2_237, 848  # a step, both ways
SESSION_BYTES = {"64 rows": 71_492, "1,000 rows": 378_464}  # by history kept

# What may be asked of one of each.
BUSY = 0.6  # of a core, so that a burst finds room
REDIS_BYTES = 16e9  # of data on a machine of twice that, since rewriting the log copies
NETWORK_BYTES_S = 75e6  # of a link of 1 Gbit/s
CLUSTER = 3  # servers that a cluster has at least

LOADS = (  # live sessions, steps/s, history kept
    (1_000, 500, "1,000 rows"),
    (10_000, 2_000, "1,000 rows"),
    (100_000, 5_000, "64 rows"),
    (1_000_000, 10_000, "64 rows"),
    (10_000_000, 30_000, "64 rows"),
)


class Plan(NamedTuple):
    """What a load takes. `first` runs out first where there is one of each."""

    replicas: int
    redis: int
    routers: int
    redis_bytes: float
    redis_bytes_s: float
    http_bytes_s: float
    first: str


def plan(sessions: int, steps_s: float, kept: str) -> Plan:
    """For so many live sessions, steps a second and a history. One replica more than the load
    takes, so that one may go."""
    size = sessions * SESSION_BYTES[kept]
    asked = {
        "a replica's engine": steps_s * ENGINE_S / BUSY,
        "Redis' processor": steps_s * REDIS_S / BUSY,
        "Redis' memory": size / REDIS_BYTES,
        "Redis' network": steps_s * TO_REDIS_BYTES / NETWORK_BYTES_S,
        "the router's core": steps_s * HAPROXY_S / BUSY,
    }
    redis = math.ceil(max(asked[name] for name in asked if name.startswith("Redis")))
    return Plan(
        math.ceil(asked["a replica's engine"]) + 1,
        redis if redis == 1 else max(redis, CLUSTER),
        math.ceil(asked["the router's core"]),
        size,
        steps_s * TO_REDIS_BYTES,
        steps_s * HTTP_BYTES,
        max(asked, key=lambda name: asked[name]),
    )


def lines() -> list[str]:
    """The table in Markdown."""
    found = [
        "| sessions | steps/s | history | replicas | Redis | router's cores | Redis: memory | "
        "to Redis | clients | runs out first |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for sessions, steps_s, kept in LOADS:
        made = plan(sessions, steps_s, kept)
        found.append(
            f"| {sessions:,} | {steps_s:,} | {kept} | {made.replicas} | {made.redis} | "
            f"{made.routers} | {_short(made.redis_bytes / 1e9)} GB | "
            f"{_short(made.redis_bytes_s / 1e6)} MB/s | {_short(made.http_bytes_s / 1e6)} MB/s | "
            f"{made.first} |"
        )
    return found


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines()) + "\n")
