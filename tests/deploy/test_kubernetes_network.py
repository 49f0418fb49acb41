"""Who reaches whom, by the policies of every overlay."""

from __future__ import annotations

import pytest

from tests.deploy.kubernetes import NAMESPACE, OVERLAYS, pod
from tests.deploy.network import Peer, may_reach, ours

OUTSIDE = Peer("default", {})
PROMETHEUS = Peer("monitoring", {"app.kubernetes.io/name": "prometheus"})
DNS = Peer("kube-system", {"k8s-app": "kube-dns"})
STRANGER = Peer(NAMESPACE, {"app.kubernetes.io/name": "other"})


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_router_and_prometheus_reach_the_server(overlay: str):
    server, router, redis = (ours(pod(overlay, name)) for name in ("server", "router", "redis"))
    port = pod(overlay, "server").ports["http"]
    may = {
        name
        for name, peer in {
            "router": router,
            "prometheus": PROMETHEUS,
            "redis": redis,
            "a stranger": STRANGER,
            "another namespace": OUTSIDE,
            "prometheus of another": Peer("default", PROMETHEUS.labels),
            "what else monitors": Peer("monitoring", {}),
        }.items()
        if may_reach(overlay, peer, server, port)
    }
    assert may == {"router", "prometheus"}
    assert not may_reach(overlay, router, server, 22)
    assert may_reach(overlay, OUTSIDE, router, pod(overlay, "router").ports["http"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_server_reaches_redis_and_dns_alone_and_the_store_is_private(overlay: str):
    server, router, redis = (ours(pod(overlay, name)) for name in ("server", "router", "redis"))
    port = pod(overlay, "redis").ports["redis"]
    assert may_reach(overlay, server, redis, port)
    assert may_reach(overlay, server, DNS, 53, "UDP") and may_reach(overlay, router, DNS, 53, "UDP")
    for peer in (router, STRANGER, OUTSIDE, PROMETHEUS):
        assert not may_reach(overlay, peer, redis, port)
    for peer in (OUTSIDE, Peer("kube-system", {})):
        assert not may_reach(overlay, server, peer, 443)
        assert not may_reach(overlay, redis, peer, 443)
