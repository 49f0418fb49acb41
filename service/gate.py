"""Who may come in: every request is asked for its host, its origin, its key and its scope here.

    request -> host, origin    is it from where we serve? (browsers alone can be misled)
            -> key             whose is it? 401
            -> scope           may it do this? 403
            -> rate            not too often? 429

HTTP and WebSockets come through `front_state.let_in`, a guard on every route; gRPC asks for the key
by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

from service.body import Head
from service.errors import (
    Forbidden,
    HostNotAllowed,
    NtmError,
    OriginRefused,
    RateLimited,
    Unauthenticated,
)
from service.exposure import is_loopback
from service.keys import ANYONE, Identity, Keyring
from service.rates import Rates
from service.settings import Settings

# What a route asks of a key: `opt=gate.READ`.
OPEN = {"scope": "open"}  # nothing: it tells nothing of anybody
ANY = {"scope": "any"}  # that there is one
READ = {"scope": "read"}  # looking at sessions and models
STEP = {"scope": "step"}  # beginning, moving and ending sessions, and predicting
ADMIN = {"scope": "admin"}  # what concerns all tenants

LOCAL = ("localhost", "127.0.0.1", "::1")


class Gate:
    """What one front asks of its requests."""

    def __init__(
        self,
        settings: Settings,
        keyring: Keyring | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.keyring = keyring
        self._rates = Rates(settings.tenant_requests_s, clock)
        self._hosts = settings.allowed_hosts or _own_hosts(settings)
        self._origins = frozenset(settings.cors_origins)
        self._is_allowed = lru_cache(256)(self._matches)

    @classmethod
    def of(cls, settings: Settings) -> Gate:
        """The gate that the settings ask for. Raises SettingsError for keys it cannot read."""
        return cls(settings, Keyring(Path(settings.keys)) if settings.keys else None)

    @property
    def current(self) -> bool:
        """Are the keys in force those of the file as it is now?"""
        return self.keyring is None or self.keyring.current

    def admit(self, head: Head, scope: str) -> Identity:
        """Who sends a request with these headers, where he may do what the scope says.

        Raises HostNotAllowed, OriginRefused, Unauthenticated, Forbidden and RateLimited.
        """
        self.check_site(head)
        return self.identify(head.get(b"authorization", b""), scope)

    def check_site(self, head: Head) -> None:
        """Raises HostNotAllowed and OriginRefused: a page of another site must not reach us
        through the browser of somebody who can, by a name that it made ours or by a form."""
        host = head.get(b"host", b"").decode("latin-1")  # which every browser sends
        if host and self._hosts and not self._is_allowed(host):
            raise HostNotAllowed(
                f"Host: expected one of {', '.join(self._hosts)}, got {host!r}; "
                "NTM_ALLOWED_HOSTS names others",
                expected=list(self._hosts), got=host, where="Host",
            )  # fmt: skip
        if b"origin" not in head:
            return
        origin = head[b"origin"].decode("latin-1")
        if origin not in self._origins and _netloc(origin) != host.lower():
            raise OriginRefused(
                f"Origin: expected this server's own, got {origin!r}; NTM_CORS_ORIGINS names "
                "others that may call it",
                expected="this server's own", got=origin, where="Origin",
            )  # fmt: skip

    def identify(self, authorization: bytes, scope: str) -> Identity:
        """Who comes with this key. Raises Unauthenticated, Forbidden and RateLimited."""
        if self.keyring is None:
            return ANYONE
        found = self._named(self.keyring, authorization)
        if found is None:
            got = "a key that is unknown, revoked or expired" if authorization else "none"
            if authorization and not _is_bearer(authorization):
                got = "another scheme"
            raise _unauthenticated(got)
        self._charge(found)
        if scope != "any" and scope not in found.scopes:
            got = ", ".join(sorted(found.scopes))
            raise Forbidden(
                f"expected a key with the scope {scope!r}, got one with {got}",
                expected=scope, got=sorted(found.scopes),
            )  # fmt: skip
        return found

    def knows(self, head: Head) -> bool:
        """Is a request with these headers somebody's? Counts for nothing, and lets nobody in."""
        authorization = head.get(b"authorization", b"")
        return self.keyring is None or self._named(self.keyring, authorization) is not None

    def again(self, identity: Identity) -> None:
        """One more request of somebody who was let in, over what stays open. Raises
        Unauthenticated where his key is in force no longer, and RateLimited."""
        self.stay(identity)
        if self.keyring is not None:
            self._charge(identity)

    def stay(self, identity: Identity) -> None:
        """Raises Unauthenticated where the key of somebody who was let in is in force no longer."""
        if self.keyring is not None and not self.keyring.stands(identity):
            raise _unauthenticated("a key that is revoked or has expired meanwhile")

    def _named(self, keyring: Keyring, authorization: bytes) -> Identity | None:
        key = authorization.partition(b" ")[2].strip()
        return keyring.identify(key) if _is_bearer(authorization) else None

    def _charge(self, identity: Identity) -> None:
        wait_s = self._rates.take(identity.tenant)
        if wait_s:
            raise RateLimited(
                "expected at most NTM_TENANT_REQUESTS_S requests a second of a tenant, got more",
                headers={"retry-after": str(math.ceil(wait_s))},
            )

    def _matches(self, host: str) -> bool:
        """Is this value of a Host header one of ours, whatever its port?"""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return any(
            name == one or (one.startswith("*.") and name.endswith(one[1:])) or one == "*"
            for one in self._hosts
        )


def _own_hosts(settings: Settings) -> tuple[str, ...]:
    """The names of a server that anybody on its machine may use: else a page of another site,
    whose name was made to mean 127.0.0.1, could. A server with keys asks for those instead."""
    if settings.keys or not is_loopback(settings.host):
        return ()
    return tuple(dict.fromkeys((*LOCAL, settings.host.lower())))


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _is_bearer(authorization: bytes) -> bool:
    return authorization.partition(b" ")[0].lower() == b"bearer"


def _unauthenticated(got: str) -> NtmError:
    expected = "Authorization: Bearer and a key"
    return Unauthenticated(
        f"expected {expected}, got {got}",
        headers={"www-authenticate": "Bearer"},
        expected=expected,
        got=got,
    )
