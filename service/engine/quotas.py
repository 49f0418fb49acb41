"""How many sessions there may be, and how much of the store one tenant may keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from service.engine.host import Host
from service.engine.hosts import Hosts
from service.errors import TooManySessions, TooManyStateBytes
from service.results import UsageInfo
from service.settings import Settings
from service.store.store import Store


class Quotas:
    """Room for new sessions. A tenant has limits of its own where there are keys.

    Sessions that are about to begin count too, so that many at once get no more room than one
    after the other; one that is being written may count twice for a moment, and another then has to
    try again. Servers that share a store do not see each other's: each may let in as many
    too many as it begins at that moment.
    """

    def __init__(self, settings: Settings, store: Store, hosts: Hosts) -> None:
        self._settings, self._store, self._hosts = settings, store, hosts
        self._beginning: Counter[tuple[str, str, str]] = Counter()  # by tenant, model, version

    @asynccontextmanager
    async def room(self, tenant: str, host: Host) -> AsyncGenerator[None]:
        """Room for one more session of the tenant while it begins.

        Raises TooManySessions, TooManyStateBytes.
        """
        await self.check(tenant, host)
        place = (tenant, host.manifest.name, host.manifest.version)
        self._beginning[place] += 1
        try:
            yield
        finally:
            self._beginning[place] -= 1
            if not self._beginning[place]:
                del self._beginning[place]

    async def check(self, tenant: str, host: Host) -> None:
        """Is there room now? Raises TooManySessions, TooManyStateBytes."""
        live = await self._store.count()
        used = await self._store.usage(tenant) if self._settings.keys else None
        self._check_all(live)
        if used is not None:
            self._check_tenant(tenant, host, used)

    async def usage(self, tenant: str) -> UsageInfo:
        """What a tenant's live sessions come to."""
        used = await self._store.usage(tenant)
        return UsageInfo(sum(used.values()), self._bytes(used))

    def _check_all(self, live: int) -> None:
        most = self._settings.max_sessions
        if live + self._beginning.total() >= most:
            raise TooManySessions(f"{most} sessions live: the most allowed", expected=most)

    def _check_tenant(self, tenant: str, host: Host, used: dict[tuple[str, str], int]) -> None:
        """Raises TooManySessions, TooManyStateBytes."""
        together = Counter(used)
        for (whose, *model), number in self._beginning.items():
            if whose == tenant:
                together[model[0], model[1]] += number
        most = self._settings.tenant_sessions
        if together.total() >= most:
            expected = f"at most {most} live sessions of a tenant (NTM_TENANT_SESSIONS)"
            raise TooManySessions(f"expected {expected}, got one more", expected=expected)
        most, kept = self._settings.tenant_state_bytes, self._bytes(together)
        if kept + host.state_bytes > most:
            expected = f"at most {most} bytes of states of a tenant (NTM_TENANT_STATE_BYTES)"
            got = f"{kept} and {host.state_bytes} more"
            raise TooManyStateBytes(f"expected {expected}, got {got}", expected=expected, got=got)

    def _bytes(self, used: dict[tuple[str, str], int]) -> int:
        """What those of loaded models keep."""
        hosts = self._hosts
        return sum(n * hosts[name].state_bytes for name, n in used.items() if name in hosts)
