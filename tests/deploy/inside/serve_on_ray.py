"""Ray with the application of deploy/ray, on the loopback. Runs in Ray's own environment.

serve_on_ray.py PORT SCRATCH      prints `ready` when it serves; ends by SIGTERM, and Ray with it
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import signal
import sys

import ray
from ray import serve
from ray.serve.config import HTTPOptions

CPUS = 3  # as Ray counts them: one for each replica, and what Serve itself takes
STORE_BYTES = 80 * 1024 * 1024


def main(port: str, scratch: str) -> None:
    """Serve until SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    ray.init(
        num_cpus=CPUS,
        include_dashboard=False,
        object_store_memory=STORE_BYTES,
        _node_ip_address="127.0.0.1",
        _temp_dir=scratch,
    )
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=int(port)))
    from ntm_ray.replica import application  # a deployment, which Ray must be there for

    serve.run(application, route_prefix="/")
    print("ready", flush=True)
    signal.sigwait({signal.SIGTERM})
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
