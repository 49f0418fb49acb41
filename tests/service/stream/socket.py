"""A session's WebSocket as a client of the real library has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec
import numpy as np
from numpy.typing import NDArray
from websockets.sync.client import ClientConnection, connect

PATIENCE_S = 30.0
Floats = NDArray[np.float32]


def rows_of(seed: int, count: int, width: int = 9) -> Floats:
    """Rows (count, width)."""
    return np.random.default_rng(seed).integers(0, 2, (count, width)).astype(np.float32)


class Socket:
    """Sends rows by their number, and reads frames. `said`: the first frame."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.said = self.receive()

    def send(self, at: int, rows: Floats, **fields: Any) -> None:
        """Rows as JSON."""
        self.connection.send(
            msgspec.json.encode({"at": at, "inputs": rows.tolist()} | fields).decode()
        )

    def send_packed(self, at: int, rows: Floats, **fields: Any) -> None:
        """Rows as MessagePack."""
        tensor = {"dims": rows.shape, "data": rows.astype("<f4").tobytes()}
        self.connection.send(msgspec.msgpack.encode({"at": at, "inputs": tensor} | fields))

    def receive(self) -> dict[str, Any]:
        """The next frame."""
        frame = self.connection.recv(PATIENCE_S)
        if isinstance(frame, str):
            return msgspec.json.decode(frame)
        return msgspec.msgpack.decode(frame)

    def step(self, at: int, rows: Floats) -> Floats:
        """Rows in, rows out."""
        self.send(at, rows)
        return outputs_of(self.receive())


def outputs_of(frame: dict[str, Any]) -> Floats:
    """The outputs of an answer in either form."""
    assert "outputs" in frame, frame
    told = frame["outputs"]
    if isinstance(told, dict):
        return np.frombuffer(told["data"], "<f4").reshape(told["dims"])
    return np.array(told, np.float32)


def url_of(server_url: str, session: str) -> str:
    """The stream of a session's path."""
    return server_url.replace("http", "ws", 1) + f"{session}/stream"


@contextmanager
def opened(server_url: str, session: str, **options: Any) -> Iterator[Socket]:
    """A socket of a session's path."""
    with connect(url_of(server_url, session), close_timeout=5, **options) as connection:
        yield Socket(connection)


def stepped(client: httpx.Client, session: str, rows: Floats) -> Floats:
    """The same over plain HTTP."""
    answer = client.post(f"{session}/steps", json={"inputs": rows.tolist()})
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()["outputs"], np.float32)
