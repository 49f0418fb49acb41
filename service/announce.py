"""What `ntm serve` says once the server answers."""

from __future__ import annotations

import asyncio
import http.client

import msgspec

from service.metrics import package_version
from service.schemas import ModelList, ModelSummary
from service.settings import Settings

POLL_S = 0.1
ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where an address of all interfaces is reached


async def wait_until_ready(host: str, port: int) -> list[ModelSummary]:
    """The loaded models, as soon as the server at that address is ready."""
    while True:
        models = await asyncio.to_thread(_models, ANY.get(host, host), port)
        if models is not None:
            return models
        await asyncio.sleep(POLL_S)


def _models(host: str, port: int) -> list[ModelSummary] | None:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        for path in ("/health/ready", "/v1/models"):
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                return None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return msgspec.json.decode(body, type=ModelList).models


def announcement(settings: Settings, host: str, port: int, models: list[ModelSummary]) -> str:
    """Where the server listens, what it serves, and one curl line that works."""
    address = ANY.get(host, host)
    url = f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
    served = ", ".join(
        f"{m.name} {m.version} ({m.family}, {m.runtime} on {m.device})" for m in models
    )
    lines = [
        f"ntm-serve {package_version()} listens on {url}",
        f"  models    {served}",
        f"  sessions  {_kept(settings)}",
        f"  API docs  {url}/schema",
    ]
    if settings.grpc_port:
        where = url.removeprefix("http://").rpartition(":")[0]
        lines.append(f"  gRPC      {where}:{settings.grpc_port}")
    if models:
        row = [at % 2 for at in range(models[0].input_dims[0])]
        lines.append(
            f"  try it    curl -s {url}/v1/models/{models[0].name}/predict "
            f"-H 'Content-Type: application/json' -d '{{\"inputs\": [{row}]}}'"
        )
    return "\n".join(lines)


def _kept(settings: Settings) -> str:
    if settings.store == "memory":
        return "in memory: they end with the server"
    where = settings.store.rpartition("@")[2]  # a password is nobody's to see
    return f"in {where}, durability {settings.durability}"
