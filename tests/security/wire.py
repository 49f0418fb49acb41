"""Bytes to a server as they are, past every client that would mend them."""

import re
import socket

from tests.service.serving import Server

WAIT_S = 5.0
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


def exchange(server: Server, data: bytes, wait_s: float = WAIT_S) -> bytes:
    """All that the server answers until it hangs up. Fails where it does not."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=wait_s) as opened:
        try:
            opened.sendall(data)
        except ConnectionError:  # it has hung up already; what it said first is still there
            pass
        found = b""
        try:
            while part := opened.recv(65536):
                found += part
        except ConnectionError:
            pass
        return found


def statuses(answer: bytes) -> list[int]:
    """The status of each answer in what came."""
    return [int(status) for status in STATUS.findall(answer)]


def request(method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    """A request after whose answer the server hangs up; the path goes as it is."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", "connection: close", *headers]
    if body:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
