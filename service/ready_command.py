"""`ntm ready`: is the server that these settings start ready? For the health check of a container.

It runs every few seconds beside the server, so it imports nothing of it but its settings.
"""

from __future__ import annotations

import argparse
import http.client
import os
import ssl
import sys

from service.settings import Settings, SettingsError

TIMEOUT_S = 5.0
ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where an address of all interfaces is reached


def main(argv: list[str]) -> int:
    """0 where it is, 1 where it is not, 2 where the settings are unusable."""
    arguments = parser().parse_args(argv)
    try:
        settings = Settings.from_env(os.environ)
    except SettingsError as error:
        print(f"ntm ready: {error}", file=sys.stderr)
        return 2
    port = settings.port if arguments.port is None else arguments.port
    if is_ready(settings, settings.host, port):
        return 0
    print(f"ntm ready: the server at port {port} of {settings.host} is not", file=sys.stderr)
    return 1


def parser() -> argparse.ArgumentParser:
    """What `ntm ready` takes."""
    found = argparse.ArgumentParser(
        prog="ntm ready", description="Ask the server of NTM_HOST and NTM_PORT: 0 if it is ready."
    )
    found.add_argument("--port", type=int, help="its port, instead of NTM_PORT")
    return found


def is_ready(settings: Settings, host: str, port: int) -> bool:
    """Does the server at an address answer that it is ready, over TLS where it has that?"""
    connection = _connection(settings, ANY.get(host, host), port)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _connection(settings: Settings, host: str, port: int) -> http.client.HTTPConnection:
    if not settings.tls_cert:
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    context = ssl.create_default_context()
    context.check_hostname = False  # it is ourselves that we ask, by no name of ours
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
