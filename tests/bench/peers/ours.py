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
from tests.bench.peers.started import TOLERANCE, Inputs, Running
from tests.bench.peers.wires import Wire, binary_v2, json_steps
from tests.service.serving import served

CREATORS = 8


@contextmanager
def running(
    folder: Path, bundle: Bundle, settings: dict[str, str], transport: str = "json"
) -> Generator[Running]:
    """Ready, with these NTM_ settings. transport: json or binary."""
    with served(folder, bundle.folder, **settings) as server:
        port = urlsplit(server.url).port
        assert port is not None
        name = bundle.manifest.name

        def json_wire(inputs: Inputs) -> Wire:
            return json_steps(asyncio.run(created(server.url, name, len(inputs))), inputs)

        wires: dict[str, Callable[[Inputs], Wire]] = {
            "json": json_wire,
            "binary": lambda inputs: binary_v2(name, inputs),
        }
        with server.client() as client:
            (model,) = client.get("/v1/models").json()["models"]
        exact = model["runtime"] == "onnx" and model["device"] == "cpu"
        tolerance = 0.0 if exact else TOLERANCE
        yield Running(port, server.process.pid, tolerance, wires[transport])


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
