from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.app import HANDLERS
from service.errors import (
    Forbidden,
    HostNotAllowed,
    OriginRefused,
    RateLimited,
    Unauthenticated,
)
from service.gate import Gate
from service.grpc.calls import METHODS
from service.keys import ANYONE, LOOK_S, SCOPES, Keyring
from service.routes.stream import stream_rows
from service.settings import Settings
from tests.service.keyed import bearer, new_key, revoke

SCOPED = {"open", "any", *SCOPES}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def head(**given: str) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in given.items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    new_key(tmp_path / "keys.json", "nobody", "read")
    return tmp_path / "keys.json"


def gate_of(path: Path, clock: Clock | None = None, **settings: Any) -> Gate:
    ticks = clock or Clock()
    return Gate(Settings(keys=str(path), **settings), Keyring(path, ticks), ticks)


def test_without_keys_everybody_may_do_everything():
    gate = Gate.of(Settings())
    for scope in ("any", *SCOPES):
        assert gate.admit({}, scope) is ANYONE
    gate.again(ANYONE)


def test_every_route_and_method_says_what_it_takes_of_a_key():
    for handler in HANDLERS:
        assert handler.opt.get("scope") in SCOPED, handler.handler_name
    assert {scope for _, scope in METHODS.values()} <= SCOPED
    assert stream_rows.opt["scope"] == "step"


def test_what_is_open_tells_nothing_of_anybody():
    opened = {h.handler_name for h in HANDLERS if h.opt["scope"] == "open"}
    assert opened == {
        "live", "ready", "describe_server", "server_live", "server_ready", "explain_stream"
    }  # fmt: skip
    assert {name for name, (_, scope) in METHODS.items() if scope == "open"} == {
        "ServerLive", "ServerReady", "ServerMetadata"
    }  # fmt: skip


def test_what_changes_something_or_concerns_all_takes_more_than_read():
    reading = {h.handler_name for h in HANDLERS if h.opt["scope"] in ("read", "any")}
    posting = {h.handler_name for h in HANDLERS if h.http_methods & {"POST", "PUT", "DELETE"}}
    assert reading & posting == {"repository_index"}  # a POST that changes nothing
    admin = {h.handler_name for h in HANDLERS if h.opt["scope"] == "admin"}
    assert admin == {
        "reload_models", "unload_model", "metrics", "load_model", "model_statistics",
        "all_statistics",
    }  # fmt: skip


def test_a_key_gives_its_tenant_and_what_its_scopes_say(path: Path):
    key = new_key(path, "acme", "read")
    gate = gate_of(path)
    found = gate.admit(head(**bearer(key)), "read")
    assert (found.tenant, found.scopes) == ("acme", frozenset({"read"}))
    assert gate.admit(head(**bearer(key)), "any") == found
    assert gate.admit(head(authorization=f"bEaReR  {key} "), "read") == found
    for scope in ("step", "admin"):
        with pytest.raises(Forbidden, match=f"scope '{scope}', got one with read"):
            gate.admit(head(**bearer(key)), scope)


@pytest.mark.parametrize(
    ("given", "got"),
    [
        ("", "none"), ("Basic Zm9vOmJhcg==", "another scheme"), ("Bearer", "unknown"),
        ("Bearer x", "unknown"), ("Bearer ntm_aaaaaaaaaa_" + "a" * 52, "unknown"),
    ],
)  # fmt: skip
def test_whoever_has_no_key_is_told_how_to_come(path: Path, given: str, got: str):
    gate = gate_of(path)
    with pytest.raises(Unauthenticated, match=got) as refused:
        gate.admit(head(authorization=given) if given else {}, "read")
    assert refused.value.headers["www-authenticate"] == "Bearer"
    assert "ntm_" not in refused.value.detail


def test_one_who_sends_too_much_is_told_when_to_come_again(path: Path):
    clock = Clock()
    acme, bell = new_key(path, "acme", "read"), new_key(path, "bell", "read")
    second = new_key(path, "acme", "read")
    gate = gate_of(path, clock, tenant_requests_s=0.5)
    gate.admit(head(**bearer(acme)), "read")
    with pytest.raises(RateLimited) as refused:
        gate.admit(head(**bearer(second)), "read")  # another key is no way around it
    assert refused.value.headers["retry-after"] == "2"
    gate.admit(head(**bearer(bell)), "read")
    clock.now += 2
    gate.admit(head(**bearer(second)), "read")


def test_what_stays_open_ends_with_its_key_and_is_counted(path: Path):
    clock = Clock()
    key = new_key(path, "acme", "step")
    gate = gate_of(path, clock, tenant_requests_s=2)
    identity = gate.identify(f"Bearer {key}".encode(), "step")
    gate.again(identity)
    with pytest.raises(RateLimited):
        gate.again(identity)
    gate.stay(identity)
    revoke(path, key)
    clock.now += LOOK_S
    for ask in (gate.again, gate.stay):
        with pytest.raises(Unauthenticated, match="revoked"):
            ask(identity)


@pytest.mark.parametrize(
    ("host", "fits"),
    [
        ("localhost", True), ("LOCALHOST:8000", True), ("127.0.0.1:1", True), ("[::1]:8000", True),
        ("", True), ("evil.example", False), ("localhost.evil.example", False),
        ("evil.example:8000", False), ("127.0.0.1.evil.example", False), ("[::1", False),
        ("user@localhost", True), ("localhost@evil.example", False),
    ],
)  # fmt: skip
def test_on_loopback_without_keys_only_its_own_names_reach_it(host: str, fits: bool):
    gate = Gate.of(Settings())
    if fits:
        gate.check_site(head(host=host))
    else:
        with pytest.raises(HostNotAllowed, match="NTM_ALLOWED_HOSTS"):
            gate.check_site(head(host=host))


def test_allowed_hosts_may_be_all_below_a_name(path: Path):
    gate = Gate.of(Settings(allowed_hosts=("ntm.example", "*.ntm.example")))
    for host in ("ntm.example", "a.ntm.example:80", "a.b.NTM.example"):
        gate.check_site(head(host=host))
    for host in ("localhost", "antm.example", "ntm.example.evil"):
        with pytest.raises(HostNotAllowed):
            gate.check_site(head(host=host))
    gate_of(path).check_site(head(host="whatever.example"))  # its keys keep it


def test_pages_of_other_sites_are_refused_unless_they_are_named():
    gate = Gate.of(Settings(cors_origins=("https://app.example",)))
    gate.check_site(head(host="localhost:8000"))
    gate.check_site(head(host="localhost:8000", origin="http://localhost:8000"))
    gate.check_site(head(host="localhost:8000", origin="https://app.example"))
    for origin in (
        "http://localhost", "https://localhost:8001", "https://app.example.evil", "null",
        "http://app.example", "https://[", "http://evil@localhost:8000",
    ):  # fmt: skip
        with pytest.raises(OriginRefused, match="NTM_CORS_ORIGINS"):
            gate.check_site(head(host="localhost:8000", origin=origin))
