"""What each method of the service does: a message in, a message out, NtmError where it cannot."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from service.front_state import FrontState
from service.grpc import convert
from service.grpc.classes import messages
from service.keys import Identity
from service.v2 import metadata, repository, statistics
from service.v2.infer import Caller, infer


class Call(msgspec.Struct, frozen=True):
    """One request of somebody. remaining_s: until his deadline; None where he set none; traced:
    W3C's trace headers, as far as they came."""

    front: FrontState
    identity: Identity
    request_id: str
    remaining_s: float | None
    traced: dict[str, str] = {}


Method = Callable[[Call, Any], Awaitable[Any]]


async def server_live(call: Call, message: Any) -> Any:
    """This front process answers."""
    return messages()["ServerLiveResponse"](live=True)


async def server_ready(call: Call, message: Any) -> Any:
    """Every model is loaded and warmed."""
    health = await metadata.server_ready(call.front, call.request_id)
    return messages()["ServerReadyResponse"](ready=health.ready)


async def model_ready(call: Call, message: Any) -> Any:
    """This model, and version, is loaded."""
    ready = await metadata.model_ready(
        call.front, message.name, message.version or None, call.request_id
    )
    return messages()["ModelReadyResponse"](ready=ready)


async def server_metadata(call: Call, message: Any) -> Any:
    """The server's name, version and extensions."""
    return convert.filled("ServerMetadataResponse", metadata.server_metadata())


async def model_metadata(call: Call, message: Any) -> Any:
    """What goes into a model and comes out."""
    found = await metadata.model_metadata(
        call.front, message.name, message.version or None, call.request_id
    )
    return convert.filled("ModelMetadataResponse", found)


async def model_config(call: Call, message: Any) -> Any:
    """The model in the terms of Triton's configuration."""
    found = await metadata.model_config(
        call.front, message.name, message.version or None, call.request_id
    )
    return convert.filled("ModelConfigResponse", {"config": found})


async def model_statistics(call: Call, message: Any) -> Any:
    """What was run, by model: of all models where none is named."""
    found = await statistics.statistics(
        call.front, message.name or None, message.version or None, call.request_id
    )
    return convert.filled("ModelStatisticsResponse", {"model_stats": found})


async def repository_index(call: Call, message: Any) -> Any:
    """The models, loaded or not."""
    found = await repository.index(call.front, message.ready, call.request_id)
    return convert.filled("RepositoryIndexResponse", {"models": found})


async def repository_model_load(call: Call, message: Any) -> Any:
    """Load a model's bundles that are new."""
    given = convert.parameters(message.parameters)
    await repository.load(call.front, message.model_name, given, call.request_id)
    return messages()["RepositoryModelLoadResponse"]()


async def repository_model_unload(call: Call, message: Any) -> Any:
    """Serve a model no longer."""
    given = convert.parameters(message.parameters)
    await repository.unload(call.front, message.model_name, given, call.request_id)
    return messages()["RepositoryModelUnloadResponse"]()


async def model_infer(call: Call, message: Any) -> Any:
    """Rows in, rows out. The answer has the form that the request has: raw bytes, or lists."""
    request = convert.infer_request(message)
    request = msgspec.structs.replace(
        request, parameters=within(request.parameters, call.remaining_s)
    )
    answer = await infer(call.front, request, Caller(call.identity.tenant, call.request_id))
    return convert.infer_response(answer, raw=bool(message.raw_input_contents))


def within(parameters: dict[str, Any], remaining_s: float | None) -> dict[str, Any]:
    """The parameters with the client's deadline as `timeout`, where that is the sooner one."""
    timeout = parameters.get("timeout", 0)
    if remaining_s is None or isinstance(timeout, bool) or not isinstance(timeout, int):
        return parameters
    left = max(1, int(remaining_s * 1e6))
    return parameters if 0 < timeout <= left or timeout < 0 else parameters | {"timeout": left}


METHODS: dict[str, tuple[Method, str]] = {  # and the scope that it takes
    "ServerLive": (server_live, "open"),
    "ServerReady": (server_ready, "open"),
    "ModelReady": (model_ready, "read"),
    "ServerMetadata": (server_metadata, "open"),
    "ModelMetadata": (model_metadata, "read"),
    "ModelConfig": (model_config, "read"),
    "ModelStatistics": (model_statistics, "admin"),
    "ModelInfer": (model_infer, "step"),
    "RepositoryIndex": (repository_index, "read"),
    "RepositoryModelLoad": (repository_model_load, "admin"),
    "RepositoryModelUnload": (repository_model_unload, "admin"),
}
