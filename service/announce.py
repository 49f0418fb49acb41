"""What `ntm serve` says once the server answers."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from service.errors import Unavailable
from service.link import EngineLink
from service.metrics import package_version
from service.ready_command import ANY, is_ready
from service.requests import ListModels
from service.results import ModelInfo
from service.settings import Settings

MODELS = msgspec.msgpack.Decoder(list[ModelInfo])
POLL_S = 0.1
TIMEOUT_S = 5.0


async def wait_until_ready(
    settings: Settings, host: str, port: int, engine: str
) -> list[ModelInfo]:
    """The loaded models, as soon as the server at that address is ready. engine: its socket."""
    logging.getLogger("ntm.link").setLevel(logging.WARNING)  # each front tells of its own link
    while not await asyncio.to_thread(is_ready, settings, host, port):
        await asyncio.sleep(POLL_S)
    link = EngineLink(engine, TIMEOUT_S)
    await link.open()
    try:
        while True:
            try:
                return await link.call(MODELS, ListModels())
            except Unavailable:
                await asyncio.sleep(POLL_S)
    finally:
        await link.close()


def announcement(settings: Settings, host: str, port: int, models: list[ModelInfo]) -> str:
    """Where the server listens, what it serves, and one curl line that works."""
    address = ANY.get(host, host)
    scheme = "https" if settings.tls_cert else "http"
    url = f"{scheme}://[{address}]:{port}" if ":" in address else f"{scheme}://{address}:{port}"
    served = ", ".join(
        f"{m.manifest.name} {m.manifest.version} ({m.manifest.family}, {m.runtime} on {m.device})"
        for m in models
    )
    nobody = f"none: everybody who reaches {settings.host} may do everything"
    lines = [
        f"ntm-serve {package_version()} listens on {url}",
        f"  models    {served}",
        f"  sessions  {_kept(settings)}",
        f"  keys      {settings.keys or nobody}",
        f"  API docs  {url}/schema",
    ]
    if settings.grpc_port:
        where = url.removeprefix(f"{scheme}://").rpartition(":")[0]
        lines.append(f"  gRPC      {where}:{settings.grpc_port}")
    if models:
        first = models[0].manifest
        row = [at % 2 for at in range(first.input.dims[0])]
        key = ' -H "Authorization: Bearer $NTM_API_KEY"' if settings.keys else ""
        lines.append(
            f"  try it    curl -s {url}/v1/models/{first.name}/predict{key} "
            f"-H 'Content-Type: application/json' -d '{{\"inputs\": [{row}]}}'"
        )
    return "\n".join(lines)


def _kept(settings: Settings) -> str:
    if settings.store == "memory":
        return "in memory: they end with the server"
    where = settings.store.rpartition("@")[2]  # a password is nobody's to see
    return f"in {where}, durability {settings.durability}"
