"""A real cluster of three Redis servers on the loopback."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.service.store.redis_server import RedisServer, running

SLOTS = 16384
READY_S = 30.0


@contextmanager
def cluster(folder: Path, nodes: int = 3) -> Iterator[list[RedisServer]]:
    """The servers, which share the slots evenly."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                running(folder / str(at), cluster_enabled="yes", cluster_node_timeout="2000")
            )
            for at in range(nodes)
        ]
        for at, server in enumerate(servers):
            own = range(SLOTS * at // nodes, SLOTS * (at + 1) // nodes)
            assert server.ask("CLUSTER", "ADDSLOTS", *map(str, own)) == b"+OK\r\n"
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", str(at + 1))
            servers[0].ask("CLUSTER", "MEET", "127.0.0.1", str(server.port))
        until = time.monotonic() + READY_S
        while not all(_is_whole(server, nodes) for server in servers):
            assert time.monotonic() < until, "the cluster does not come together"
        yield servers


def _is_whole(server: RedisServer, nodes: int) -> bool:
    told = server.ask("CLUSTER", "INFO")
    return b"cluster_state:ok" in told and f"cluster_known_nodes:{nodes}".encode() in told
