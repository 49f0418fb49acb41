"""Clients of the shared server, and of what stands before it."""

from collections.abc import Iterator

import pytest

from service.client import Client, Retries, Session
from tests.service.client.faults import Proxy, Relay, proxied, relayed
from tests.service.serving import Server

QUICK = Retries(base_s=0.001, cap_s=0.002)


@pytest.fixture
def ntm(server: Server) -> Iterator[Client]:
    """A client of the shared server."""
    with Client(server.url) as client:
        yield client


@pytest.fixture
def copy(ntm: Client) -> Iterator[Session]:
    """A fresh session of the copy model."""
    with ntm.session("copy") as session:
        yield session


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """A proxy that loses and refuses as planned."""
    with proxied(server.url) as opened:
        yield opened


@pytest.fixture
def relay(server: Server) -> Iterator[Relay]:
    """A relay that can cut connections."""
    with relayed(server.url) as opened:
        yield opened


@pytest.fixture
def behind(proxy: Proxy) -> Iterator[Client]:
    """A client behind the proxy, which does not wait long between its tries."""
    with Client(proxy.url, retries=QUICK) as client:
        yield client
