"""What is asked of the servers, and which of them take part."""

from __future__ import annotations

from typing import NamedTuple

CONNECTIONS = 64
BASE = "mosec"  # what ratios are to


class Workload(NamedTuple):
    """rows: of a request; sessions: all of them are stepped in turn; servers: names in opened.py;
    paced: at half of the top load too."""

    title: str
    rows: int
    sessions: int
    servers: tuple[str, ...]
    paced: bool = False


WORKLOADS = {
    "single": Workload(
        "one row a request, sessions in memory alone", 1, 64, ("mosec", "ntm", "triton", "ray")
    ),
    "sync": Workload("the same with sync durability", 1, 64, ("mosec", "ntm-sync")),
    "many": Workload("one row a request, 10,000 sessions", 1, 10_000, ("mosec", "ntm")),
    "twenty": Workload("20 rows a request", 20, 64, ("mosec", "ntm")),
    "socket": Workload(
        "one row a message over WebSocket", 1, 64, ("mosec", "ntm-socket", "ntm-socket-packed")
    ),
    "binary": Workload(
        "one row a request, V2 with binary tensors", 1, 64, ("mosec", "ntm-binary", "triton")
    ),
    "half": Workload("half of the top load, one row a request", 1, 64, ("mosec", "ntm"), True),
}


def family(server: str) -> str:
    """`ntm` of `ntm-sync`: what `--servers` names."""
    return server.split("-")[0]


SERVERS = sorted({family(server) for each in WORKLOADS.values() for server in each.servers})


def chosen(names: str, servers: str) -> dict[str, Workload]:
    """The workloads and servers named, with commas between them; empty means all of them.

    The base stays in, for without it there is no ratio. Raises ValueError for a name that is none.
    """
    wanted = _named(names, list(WORKLOADS), "workloads")
    kept = {*_named(servers, SERVERS, "servers"), BASE}
    return {
        name: each._replace(servers=tuple(s for s in each.servers if family(s) in kept))
        for name, each in WORKLOADS.items()
        if name in wanted
    }


def _named(text: str, known: list[str], what: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    if unknown := set(names) - set(known):
        raise ValueError(f"{what}: expected of {', '.join(known)}, got {', '.join(unknown)}")
    return names or known
