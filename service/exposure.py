"""Where a server may listen: beyond its own machine only with keys, unless told otherwise."""

from __future__ import annotations

import os
import socket
import ssl
from ipaddress import ip_address
from pathlib import Path

from service.environ import SettingsError
from service.keys import read_file
from service.settings import Settings


def check(settings: Settings) -> None:
    """Raises SettingsError where anybody could come in whom nobody let in, and for keys and
    certificates that cannot be used."""
    if settings.keys:
        read_file(Path(settings.keys))
    elif not settings.serve_without_keys and not is_loopback(settings.host):
        raise SettingsError(
            f"{settings.host} can be reached from other machines, and there are no keys: make "
            "one with `ntm keys create --file keys.json --tenant NAME` and set NTM_KEYS, or set "
            "NTM_SERVE_WITHOUT_KEYS=1 where whoever can reach it may do everything"
        )
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise SettingsError("NTM_TLS_CERT and NTM_TLS_KEY: expected both or neither")
    if settings.tls_cert:
        _load(settings)


def is_loopback(host: str) -> bool:
    """Do all addresses of this name belong to the machine alone?"""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return all(ip_address(address[4][0]).is_loopback for address in found)


def _load(settings: Settings) -> None:
    for variable, path in (("NTM_TLS_CERT", settings.tls_cert), ("NTM_TLS_KEY", settings.tls_key)):
        if not os.access(path, os.R_OK):
            raise SettingsError(f"{variable}: {path} cannot be read")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert, settings.tls_key)
    except ssl.SSLError as error:
        raise SettingsError(
            f"NTM_TLS_CERT and NTM_TLS_KEY: expected a certificate in PEM and its key: {error}"
        ) from error
