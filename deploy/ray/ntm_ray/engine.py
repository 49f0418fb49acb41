"""The engine process of one replica: started again whenever it ends, and ended with the replica."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from service import exposure
from service.errors import Unavailable
from service.link import EngineLink
from service.requests import Health
from service.results import HealthInfo
from service.settings import LIFELINE_FD, PREFIX, Settings, SettingsError
from service.supervisor import MARGIN_S, Child

HEALTH = msgspec.msgpack.Decoder(HealthInfo)
POLL_S, ANSWER_S = 0.1, 5.0


def settings_of(environ: Mapping[str, str]) -> Settings:
    """The settings of a replica. Raises SettingsError for those that would not serve under Ray."""
    settings = Settings.from_env(environ)
    if not settings.store.startswith(("redis://", "rediss://")):
        raise SettingsError(
            f"NTM_STORE: expected redis://host:port/db, which all replicas share, "
            f"got {settings.store.split(':')[0]}: a session would be unknown on the next replica"
        )
    if settings.grpc_port or settings.tls_cert:
        raise SettingsError("NTM_GRPC_PORT, NTM_TLS_CERT: expected none, it is Ray that listens")
    exposure.check(settings)
    return settings


class Engine:
    """Owns the process, its socket's folder, and a pipe that closes with this process."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ntm-", dir="/tmp"))
        self._lifeline, self._held = os.pipe()
        self.settings = msgspec.structs.replace(
            settings, fronts=1, engine_socket=str(self._folder / "engine.sock")
        )
        others = {name: text for name, text in environ.items() if not name.startswith(PREFIX)}
        mine = self.settings.to_env() | {LIFELINE_FD: str(self._lifeline)}
        command = ["service.engine.process"]
        self._child = Child("engine", command, others | mine, (self._lifeline,))
        self._served = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when every model is loaded and warmed. Raises RuntimeError where it ended."""
        self._keeper = asyncio.create_task(self._child.keep(self._served), name="engine")
        link = EngineLink(self.settings.engine_socket, ANSWER_S)
        await link.open()
        try:
            while not await self._is_ready(link):
                if self._keeper.done():
                    raise RuntimeError("the engine ended before it was ready; its log says why")
                await asyncio.sleep(POLL_S)
        finally:
            await link.close()
        self._served.set()

    async def stop(self) -> None:
        """End it: what it holds is stored first, as far as NTM_DRAIN_S allows."""
        await self._child.stop(self.settings.drain_s + MARGIN_S)
        if self._keeper is not None:
            await self._keeper
        os.close(self._held)
        os.close(self._lifeline)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _is_ready(self, link: EngineLink) -> bool:
        try:
            return (await link.call(HEALTH, Health())).ready
        except Unavailable:
            return False
