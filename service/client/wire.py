"""What both shells know of httpx: TLS, and its errors as what `exchange.py` takes."""

from __future__ import annotations

import ssl
from typing import TypeAlias

import httpx

from service.client.errors import Misuse
from service.client.exchange import Lost, Reply

Verify: TypeAlias = bool | str | ssl.SSLContext  # a str: the file of the CA to trust
# Raised before a byte of the request was sent.
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
HOPELESS = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
FAILURES = (httpx.HTTPError, httpx.StreamError, OSError)


def tls(verify: Verify) -> ssl.SSLContext:
    """The context of all connections. Raises Misuse for a CA file that is none."""
    if isinstance(verify, ssl.SSLContext):
        return verify
    if not isinstance(verify, str):
        return httpx.create_ssl_context(verify)
    try:
        return ssl.create_default_context(cafile=verify)
    except (OSError, ssl.SSLError) as error:
        raise Misuse(f"verify: expected a file of certificates, got {verify!r}: {error}") from None


def lost(error: Exception) -> Lost:
    """A failure of httpx as what is known of the request."""
    timed_out = isinstance(error, httpx.TimeoutException)
    reason = str(error) or type(error).__name__
    hopeless = isinstance(error, HOPELESS) or _untrusted(error)
    sent = not isinstance(error, UNSENT + HOPELESS)
    return Lost("timed out" if timed_out else reason, sent, timed_out, hopeless)


def reply_of(response: httpx.Response) -> Reply:
    """An answer that was read whole."""
    return Reply(response.status_code, dict(response.headers), response.content)


def _untrusted(error: BaseException | None) -> bool:
    """Did this come of a certificate that is not trusted?"""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
