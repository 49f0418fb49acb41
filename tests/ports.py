"""Ports for servers of tests that have to be told theirs beforehand."""

from __future__ import annotations

import random
import socket

# Below those that the system draws for connections (32768 and up on Linux): a server that is killed
# and started again would find its port taken by somebody's connection. A Redis Cluster's bus, 10000
# above its port, is a port too.
LEAST, MOST = 15_000, 22_000
_given: set[int] = set()  # to servers that may not listen yet


def free_port() -> int:
    """A port of the loopback that nobody has, another one each time."""
    while True:
        port = random.SystemRandom().randint(LEAST, MOST)  # workers of one seed draw different ones
        if port in _given:
            continue
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given.add(port)
            return port
