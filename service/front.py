"""A front process: uvicorn with the app, on a socket that the supervisor has bound."""

from __future__ import annotations

import argparse
import os
import socket
import sys

import uvicorn

from service import lifeline, logs
from service.app import create_app
from service.bounded_http import BoundedHttp
from service.settings import Settings, SettingsError

KEEP_ALIVE_S = 75
BACKLOG = 2048


def main(argv: list[str]) -> int:
    """Serve until SIGTERM, then finish what is under way."""
    parser = argparse.ArgumentParser(prog="python -m service.front")
    parser.add_argument("--fd", type=int, required=True, help="of the listening socket")
    parser.add_argument("--number", type=int, default=0, help="of this front among all")
    arguments = parser.parse_args(argv)
    lifeline.hold(os.environ)
    try:
        settings = Settings.from_env(os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return os.EX_CONFIG
    logs.configure(settings.log_level)
    listener = socket.socket(fileno=arguments.fd)
    server(settings, arguments.number).run(sockets=[listener])
    return 0


def server(settings: Settings, number: int = 0) -> uvicorn.Server:
    """The HTTP server of one front."""
    return uvicorn.Server(
        uvicorn.Config(
            create_app(settings, front=number),
            http=BoundedHttp,
            loop="uvloop",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, round(settings.drain_s)),
        )
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
