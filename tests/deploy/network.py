"""Who may reach whom by the NetworkPolicies of an overlay, as a network plugin would read them."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.deploy.kubernetes import NAMESPACE, Pod, policies, selects


class Peer(NamedTuple):
    """A pod somewhere, ours or not. pod: ours, whose ports have names."""

    namespace: str
    labels: dict[str, str]
    pod: Pod | None = None


def ours(pod: Pod) -> Peer:
    """A pod of the overlay."""
    return Peer(NAMESPACE, pod.labels, pod)


def may_reach(overlay: str, source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Do the source's egress and the target's ingress both let it through?

    Only namespaces with policies of ours are known; others let everything through.
    """
    asked = (port, protocol, target.pod)
    out = source.namespace != NAMESPACE or _lets(overlay, source, "Egress", target, asked)
    return out and (
        target.namespace != NAMESPACE or _lets(overlay, target, "Ingress", source, asked)
    )


def _lets(
    overlay: str, held: Peer, direction: str, other: Peer, asked: tuple[int, str, Pod | None]
) -> bool:
    side = "from" if direction == "Ingress" else "to"
    return any(
        _is_port(rule.get("ports"), *asked)
        and (side not in rule or any(_is_peer(peer, other) for peer in rule[side]))
        for rule in policies(overlay, held.labels, direction)
    )


def _is_peer(peer: dict[str, Any], other: Peer) -> bool:
    namespace = {"kubernetes.io/metadata.name": other.namespace}
    assert set(peer) <= {"podSelector", "namespaceSelector"}
    there = (
        selects(peer["namespaceSelector"], namespace)
        if "namespaceSelector" in peer
        else other.namespace == NAMESPACE
    )
    return there and selects(peer.get("podSelector", {}), other.labels)


def _is_port(ports: list[dict[str, Any]] | None, port: int, protocol: str, pod: Pod | None) -> bool:
    """Is it one of these? A name is the target's."""
    names = {} if pod is None else pod.ports
    return ports is None or any(
        item["protocol"] == protocol and names.get(item["port"], item["port"]) == port
        for item in ports
    )
