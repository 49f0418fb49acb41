"""Ray Serve with a state table by hand in each replica. Runs in Ray's own environment.

serve_ray.py STEP_FOLDER PORT SCRATCH

The header x-session-id names the session; consistent hashing of it chooses the replica, the same
one every time. Ends by SIGTERM, and shuts Ray down.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import ray
from ray import serve
from ray.serve.config import HTTPOptions, RequestRouterConfig
from starlette.requests import Request
from starlette.responses import Response
from state_table import StateTable

ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
REPLICAS = 2
MAX_BATCH = 32
STORE_BYTES = 100 * 1024 * 1024
HERE = str(Path(__file__).parent)


@serve.deployment(
    num_replicas=REPLICAS,
    max_ongoing_requests=1024,
    logging_config={"enable_access_log": False},
    ray_actor_options={"num_cpus": 0.5},
    request_router_config=RequestRouterConfig(
        request_router_class=ROUTER, request_router_kwargs={"num_fallback_replicas": 0}
    ),
)
class Step:
    """One replica, with the sessions that hash to it."""

    def __init__(self, folder: str) -> None:
        self._table = StateTable(Path(folder))

    async def __call__(self, request: Request) -> Response:
        """One request."""
        rows = msgspec.json.decode(await request.body())["inputs"]
        outputs = await self._batched((request.headers["x-session-id"], rows))
        body = msgspec.json.encode({"outputs": outputs})
        return Response(body, media_type="application/json")

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=0.001)
    async def _batched(self, asked: Any) -> list[list[list[float]]]:
        """The rows of up to MAX_BATCH sessions at once."""
        sessions, rows = zip(*asked, strict=True)
        return self._table.run(sessions, np.array(rows, np.float32)).tolist()


application: Any = Step  # by now a deployment


def main(folder: str, port: str, scratch: str) -> None:
    """Serve until SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    ray.init(
        num_cpus=REPLICAS,
        include_dashboard=False,
        object_store_memory=STORE_BYTES,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": HERE}},
        _node_ip_address="127.0.0.1",
        _temp_dir=scratch,
    )
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=int(port)))
    serve.run(application.bind(folder), route_prefix="/")
    signal.sigwait({signal.SIGTERM})
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
