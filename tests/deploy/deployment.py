"""What the tests ask of a deployment, whether it runs as processes or in containers."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parents[2]
SERVERS = ("server-1", "server-2", "server-3")


class Deployment(Protocol):
    """Three servers on one Redis behind HAProxy, watched by Prometheus and Alertmanager.

    form: `processes` or `containers`. router, prometheus, alertmanager: where they listen.
    """

    form: str
    router: str
    prometheus: str
    alertmanager: str

    def kill(self, service: str) -> None:
        """SIGKILL of everything of a service: one of SERVERS, or `redis`."""
        ...

    def start(self, service: str) -> None:
        """Again, with what it had on its disk; returns before it is ready."""
        ...

    def stop(self, service: str) -> int:
        """SIGTERM; its exit status."""
        ...

    def new_key(self, tenant: str) -> str:
        """A key of a tenant, which the servers know within a second."""
        ...
