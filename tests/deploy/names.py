"""A name server of a test's own: one name, and the IPv4 addresses that it has at the moment."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Generator
from contextlib import contextmanager

A, IN, ANSWER = 1, 1, 0x8580  # an answer with authority, as a cluster's DNS gives it
HEADER = struct.Struct("!HHHHHH")
RECORD = struct.Struct("!HHHIH4s")
TTL_S = 1


class Names:
    """addresses: what every name is answered with; a list that may be changed meanwhile."""

    def __init__(self, listener: socket.socket) -> None:
        self.port: int = listener.getsockname()[1]
        self.addresses: list[str] = []
        self._listener = listener

    def serve(self) -> None:
        """Answer until the socket is shut down."""
        while True:
            asked, client = self._listener.recvfrom(4096)
            if not asked:
                return
            self._listener.sendto(self._answer(asked), client)

    def _answer(self, asked: bytes) -> bytes:
        number = HEADER.unpack_from(asked)[0]
        end = asked.index(b"\0", HEADER.size) + 1
        question = asked[HEADER.size : end + 4]
        (kind,) = struct.unpack_from("!H", asked, end)
        found = self.addresses if kind == A else []  # no IPv6 here
        records = b"".join(
            RECORD.pack(0xC000 | HEADER.size, A, IN, TTL_S, 4, socket.inet_aton(address))
            for address in found
        )
        return HEADER.pack(number, ANSWER, 1, len(found), 0, 0) + question + records


@contextmanager
def names() -> Generator[Names]:
    """A name server on a free port of the loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        found = Names(listener)
        thread = threading.Thread(target=found.serve, name="names")
        thread.start()
        try:
            yield found
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", ("127.0.0.1", found.port))
            thread.join()
