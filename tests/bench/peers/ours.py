"""ntm-serve, as its users start it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from export.bundle import Bundle
from tests.bench.connection import connect, post
from tests.bench.peers.sockets import json_socket, msgpack_socket
from tests.bench.peers.started import TOLERANCE, Inputs, Running
from tests.bench.peers.wires import Wire, binary_v2, json_steps, msgpack_steps
from tests.service.serving import Server, served

CREATORS = 8


NAMED: dict[str, Callable[[list[str], Inputs], Wire]] = {
    "json": json_steps,
    "msgpack": msgpack_steps,
    "socket": json_socket,
    "packed": msgpack_socket,
}


@contextmanager
def running(
    folder: Path, bundle: Bundle, settings: dict[str, str], transport: str
) -> Generator[Running]:
    """Ready, with these NTM_ settings. transport: one of NAMED, or binary."""
    model = bundle.manifest.name

    def wire_of(inputs: Inputs) -> Wire:
        if transport == "binary":
            return binary_v2(model, inputs)
        return NAMED[transport](asyncio.run(created(server.url, model, len(inputs))), inputs)

    with served(folder, bundle.folder, **settings) as server:
        port = urlsplit(server.url).port
        assert port is not None
        yield Running(port, server.process.pid, _tolerance(server), wire_of)


def _tolerance(server: Server) -> float:
    """None on the runtime that the reference has."""
    with server.client() as client:
        (model,) = client.get("/v1/models").json()["models"]
    return 0.0 if (model["runtime"], model["device"]) == ("onnx", "cpu") else TOLERANCE


async def created(url: str, model: str, count: int) -> list[str]:
    """The ids of so many new sessions."""
    creation, ids = post(f"/v1/models/{model}/sessions", {}), list[str]()

    async def some(number: int) -> None:
        connection = await connect(url)
        for _ in range(number, count, CREATORS):
            status, body = await connection.send(creation)
            assert status == 201, body
            ids.append(json.loads(body)["id"])
        connection.close()

    await asyncio.gather(*map(some, range(CREATORS)))
    return ids
