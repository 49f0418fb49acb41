"""Ports for servers of tests that have to be told theirs beforehand."""

from __future__ import annotations

import random
import socket

# Below those that the system draws for connections (32768 and up on Linux): a server that is killed
# and started again would find its port taken by somebody's connection. A Redis Cluster's bus, 10000
# above its port, is a port too.
LEAST, MOST = 15_000, 22_000


def free_port() -> int:
    """A port of the loopback that nobody has."""
    while True:
        port = random.SystemRandom().randint(LEAST, MOST)  # workers of one seed draw different ones
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
