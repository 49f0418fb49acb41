"""A closed loop of HTTP clients, each stepping a session of its own, and checking the answers."""

from __future__ import annotations

import asyncio
import json
import time
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from service.engine.arena import INITIAL
from service.engine.runtime import Runtime

Floats = NDArray[np.float32]
CHECKED = 20  # answers of each session that are compared with the reference


class Result(NamedTuple):
    """What a run came to. Latencies are in milliseconds; `wrong` counts answers that are not
    the reference's, bit for bit."""

    requests_per_s: float
    rows_per_s: float
    p50_ms: float
    p99_ms: float
    wrong: int


class Connection(asyncio.Protocol):
    """One keep-alive HTTP/1.1 connection: a request at a time, as little work as can be."""

    def __init__(self) -> None:
        self._buffer = b""
        self._waiter: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(exc or ConnectionResetError("the server hung up"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._buffer) < end + 4 + length:
            return
        body = self._buffer[end + 4 : end + 4 + length]
        self._buffer = self._buffer[end + 4 + length :]
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result((int(head[9:12]), body))

    async def send(self, request: bytes) -> tuple[int, bytes]:
        assert self._transport is not None
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiter


def post(path: str, body: object, headers: str = "") -> bytes:
    """A POST of JSON as it goes over the wire."""
    data = json.dumps(body, separators=(",", ":")).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"{headers}Content-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


async def run(
    url: str, reference: Reference, clients: int, sessions: int, rows: int, seconds: float
) -> Result:
    """`clients` connections step `sessions` sessions, each its own share in turn."""
    where = urlsplit(url)
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(Connection, where.hostname, where.port))[1]
        for _ in range(clients)
    ]
    ids = await _create(connections, sessions)
    inputs = [reference.inputs(number, rows) for number in range(sessions)]
    seen: list[list[Floats]] = [[] for _ in range(sessions)]
    latencies: list[list[float]] = [[] for _ in connections]
    end = time.monotonic() + seconds
    begun = time.monotonic()

    async def client(number: int) -> None:
        requests = [
            (at, post(f"/v1/sessions/{ids[at]}/steps", {"inputs": inputs[at]}))
            for at in range(number, sessions, clients)
        ]
        while True:
            for at, request in requests:
                sent = time.monotonic()
                status, body = await connections[number].send(request)
                now = time.monotonic()
                latencies[number].append(now - sent)
                assert status == 200, body
                if len(seen[at]) < CHECKED:
                    seen[at].append(np.array(json.loads(body)["outputs"], np.float32))
                if now > end:
                    return

    await asyncio.gather(*(client(number) for number in range(clients)))
    took = time.monotonic() - begun
    wrong = sum(
        reference.wrong(inputs[at], seen[at]) for at in range(0, sessions, sessions // 16 or 1)
    )
    every = np.concatenate([np.array(part) for part in latencies]) * 1e3
    rate = len(every) / took
    p50, p99 = np.percentile(every, [50, 99])
    return Result(rate, rate * rows, float(p50), float(p99), wrong)


async def _create(connections: list[Connection], sessions: int) -> list[str]:
    ids: list[str] = []

    async def some(connection: Connection, count: int) -> None:
        for _ in range(count):
            status, body = await connection.send(post("/v1/models/copy/sessions", {}))
            assert status == 201, body
            ids.append(json.loads(body)["id"])

    share, left = divmod(sessions, len(connections))
    await asyncio.gather(*(some(c, share + (n < left)) for n, c in enumerate(connections)))
    return ids


class Reference:
    """The same rows through the runtime alone, one session after the other."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def inputs(self, number: int, rows: int) -> list[list[float]]:
        """The rows that session `number` sends with every request."""
        random = np.random.default_rng(number)
        return random.integers(0, 2, (rows, self._runtime.input_size)).astype(float).tolist()

    def wrong(self, inputs: list[list[float]], answers: list[Floats]) -> int:
        """How many answers are not, to the last bit, what this session's rows come to."""
        rows, slot = np.array(inputs, np.float32)[None], self._runtime.slots - 1
        source, wrong = INITIAL, 0
        for answer in answers:
            wrong += not np.array_equal(self._runtime.step([source], [slot], rows).y[0], answer)
            source = slot
        return wrong
