"""The deployment: each replica is a front in Ray's process, with an engine process of its own.

Ray's HTTP proxy: affinity.py, consistent hash -> Replica: the app of service/app.py
                                                     | a Unix socket
                                                  engine -> Redis, which all replicas share
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import Any

from ray import serve
from ray.serve.config import RequestRouterConfig

from ntm_ray.engine import Engine, settings_of
from service import logs
from service.app import create_app
from service.front_state import KEY

ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
REPLICA, REQUEST_ID = b"x-replica", b"x-request-id"
STARTS = ("http.response.start", "websocket.accept")


@serve.deployment(
    num_replicas=2,
    # The engine has a queue of its own (NTM_MAX_QUEUE) and answers 429 past it.
    max_ongoing_requests=4096,
    # NTM_DRAIN_S, and a margin for the engine to store what it holds.
    graceful_shutdown_timeout_s=70,
    graceful_shutdown_wait_loop_s=1,
    health_check_period_s=5,
    ray_actor_options={"num_cpus": 1},
    logging_config={"enable_access_log": False},
    request_router_config=RequestRouterConfig(request_router_class=ROUTER),
)
@serve.ingress()
class Replica:
    """Owns its engine, from its first model loaded to its last state stored."""

    async def __init__(self) -> None:
        settings = settings_of(os.environ)
        logs.configure(settings)
        self._engine = Engine(settings, os.environ)
        await self._engine.start()

    def __serve_build_asgi_app__(self) -> Any:
        """The app of one front. Ray runs its lifespan."""
        self._app = create_app(self._engine.settings)
        return named(self._app, serve.get_replica_context().replica_id.unique_id)

    async def check_health(self) -> None:
        """Asked by Ray, which replaces a replica that raises thrice in a row."""
        if not self._app.state[KEY].link.connected:
            raise RuntimeError("the engine is away")

    async def __del__(self) -> None:
        """Called by Ray once, when what was under way is answered or its time is over."""
        self._app.state[KEY].draining.set()
        await self._engine.stop()


def named(app: Any, replica: str) -> Any:
    """The app, telling in X-Replica who answered."""

    async def telling(scope: Any, receive: Any, send: Any) -> None:
        async def send_named(message: MutableMapping[str, Any]) -> None:
            if message["type"] in STARTS:
                headers = list(message.get("headers", ()))
                if message["type"] == "http.response.start":  # Ray's proxy tells the same id
                    headers = [item for item in headers if item[0] != REQUEST_ID]
                message = {**message, "headers": [*headers, (REPLICA, replica.encode())]}
            await send(message)

        await app(scope, receive, send_named)

    return telling


application = Replica.bind()
