"""NTM_GRPC_PORT before anything listens there: is the extra installed, is the port free?

The supervisor asks; nothing here imports grpc.
"""

from __future__ import annotations

import errno
import importlib.util
import socket

from service.environ import SettingsError
from service.settings import Settings

PACKAGES = {"grpc": "grpcio", "google.protobuf": "protobuf"}


def hold(settings: Settings) -> socket.socket | None:
    """A socket that keeps the port for this server's fronts, which listen on it; None without.

    Raises SettingsError without the extra, OSError where the port is taken.
    """
    if not settings.grpc_port:
        return None
    for module, package in PACKAGES.items():
        if not _installed(module):
            raise SettingsError(
                f"NTM_GRPC_PORT: expected the extra 'grpc' ({package} is not installed): "
                "pip install -e '.[grpc]'"
            )
    with _bound(settings, socket.SO_REUSEADDR):
        pass  # nobody listens there: SO_REUSEPORT alone would share it with whoever does
    return _bound(settings, socket.SO_REUSEPORT)


def _bound(settings: Settings, option: int) -> socket.socket:
    """A socket of the address that does not listen."""
    host, port = settings.host, settings.grpc_port
    where = f"NTM_GRPC_PORT: port {port} of {host}"
    holder: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        holder = socket.socket(family, kind, protocol)
        holder.setsockopt(socket.SOL_SOCKET, option, 1)
        holder.bind(address)
    except OSError as error:
        if holder is not None:
            holder.close()
        taken = error.errno == errno.EADDRINUSE
        raise OSError(f"{where} is taken" if taken else f"{where}: {error.strerror}") from None
    return holder


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even what it lies in
        return False
