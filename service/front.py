"""A front process: uvicorn with the app, on a socket that the supervisor has bound."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import socket
import sys

import uvicorn

from service import lifeline, logs
from service.app import create_app
from service.bounded_http import BoundedHttp
from service.bounded_socket import BoundedSocket
from service.environ import SettingsError
from service.front_state import KEY
from service.settings import Settings

KEEP_ALIVE_S = 75
PING_S, PONG_S = 20.0, 60.0  # of a WebSocket; while it is full, nothing is read from it
BACKLOG = 2048
# A body of millions of lists would have the collector look through them hundreds of times.
COLLECTED_AFTER = 50_000


def main(argv: list[str]) -> int:
    """Serve until SIGTERM, then finish what is under way."""
    parser = argparse.ArgumentParser(prog="python -m service.front")
    parser.add_argument("--fd", type=int, required=True, help="of the listening socket")
    parser.add_argument("--number", type=int, default=0, help="of this front among all")
    arguments = parser.parse_args(argv)
    lifeline.hold(os.environ)
    try:
        settings = Settings.from_env(os.environ)
        logs.configure(settings)
        serving = server(settings, arguments.number)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return os.EX_CONFIG
    gc.freeze()
    gc.set_threshold(COLLECTED_AFTER)
    serving.run(sockets=[socket.socket(fileno=arguments.fd)])
    return 0


class DrainingServer(uvicorn.Server):
    """uvicorn, telling what else this front serves when it begins to stop."""

    def __init__(self, config: uvicorn.Config, draining: asyncio.Event) -> None:
        super().__init__(config)
        self._draining = draining

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        self._draining.set()
        await super().shutdown(sockets)


def server(settings: Settings, number: int = 0) -> uvicorn.Server:
    """The server of one front."""
    app = create_app(settings, front=number)
    return DrainingServer(
        uvicorn.Config(
            app,
            http=BoundedHttp,
            loop="uvloop",
            ws=BoundedSocket,
            ws_max_size=settings.max_body_bytes,
            ws_ping_interval=PING_S,
            ws_ping_timeout=PONG_S,
            ws_per_message_deflate=False,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            ssl_certfile=settings.tls_cert or None,
            ssl_keyfile=settings.tls_key or None,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, round(settings.drain_s)),
        ),
        app.state[KEY].draining,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
