"""`ntm serve`: starts the engine and the fronts, starts again what dies, and stops them in order.

supervisor   binds the port, makes the folder of the engine's socket, watches
  engine     python -m service.engine.process
  front 0..  python -m service.front, all accepting on the one bound socket
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

from service import exposure, logs, tracing
from service.announce import announcement, wait_until_ready
from service.environ import SettingsError
from service.grpc.port import hold
from service.settings import ENGINE_SOCKET, LIFELINE_FD, PREFIX, Settings, table

BACKLOG = 2048
SOCKET_PATH_BYTES = 100  # what every system allows for a Unix socket's path
RESTART_MIN_S, RESTART_MAX_S = 0.1, 5.0
LONG_LIVED_S = 2.0  # a child that lived as long starts again without more delay
MARGIN_S = 3.0  # beyond NTM_DRAIN_S, for a process to end

log = logging.getLogger("ntm.supervisor")


class Child:
    """A process that is started again whenever it ends, until it is stopped."""

    def __init__(
        self, name: str, command: list[str], environ: dict[str, str], descriptors: tuple[int, ...]
    ) -> None:
        self.name, self._command = name, command
        self._environ, self._descriptors = environ, descriptors
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False

    async def keep(self, served: asyncio.Event) -> None:
        """Run it, again and again. Returns when stopped, or when it ended before all was ready."""
        loop, wait_s = asyncio.get_running_loop(), RESTART_MIN_S
        while not self._stopping:
            begun = loop.time()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", *self._command,  # -P: no package of the current folder
                stdin=asyncio.subprocess.DEVNULL, env=self._environ, pass_fds=self._descriptors,
                start_new_session=True,  # Ctrl-C is the supervisor's to hear
                preexec_fn=_ignore_hangup,
            )  # fmt: skip
            status = await self._process.wait()
            if self._stopping:
                return
            if not served.is_set():
                log.error("the %s ended (%s) before it was ready", self.name, status)
                return
            wait_s = RESTART_MIN_S if loop.time() - begun >= LONG_LIVED_S else wait_s
            log.error("the %s ended (%s); starting it again in %g s", self.name, status, wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, RESTART_MAX_S)

    def signal(self, number: int) -> None:
        """Pass a signal on, where it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def stop(self, within_s: float) -> None:
        """End it by SIGTERM, and by SIGKILL where that takes longer than `within_s`."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(within_s):
                await process.wait()
        except TimeoutError:
            log.error("the %s did not end within %g s: killed", self.name, within_s)
            process.kill()
            await process.wait()


def _ignore_hangup() -> None:
    """A SIGHUP that comes before the engine listens for it must not end it."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


class Supervisor:
    """The engine and the fronts of one server."""

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        folder: Path,
        engine: str = "service.engine.process",
    ) -> None:
        self._settings, self._listener = settings, listener
        self._lifeline, self._held = os.pipe()  # its write end closes with this process
        environ = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        environ |= settings.to_env()
        environ[ENGINE_SOCKET] = self._socket = str(folder / "engine.sock")
        environ[LIFELINE_FD] = str(self._lifeline)
        self._engine = Child("engine", [engine], environ, (self._lifeline,))
        descriptors = (self._lifeline, listener.fileno())
        command = ["service.front", "--fd", str(listener.fileno()), "--number"]
        self._fronts = [
            Child(f"front {number}", [*command, str(number)], environ, descriptors)
            for number in range(settings.fronts)
        ]

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT: 0. Where it never got ready: 1."""
        stop, served = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._engine.signal, signal.SIGHUP)
        kept = [asyncio.create_task(child.keep(served)) for child in (self._engine, *self._fronts)]
        telling = asyncio.create_task(self._tell(served))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait([*kept, stopped], return_when=asyncio.FIRST_COMPLETED)
        telling.cancel()
        await self._drain()
        for task in kept:
            task.cancel()
        await asyncio.gather(*kept, telling, return_exceptions=True)
        return 0 if stopped.done() else 1

    async def _tell(self, served: asyncio.Event) -> None:
        """Say where the server is, once it answers."""
        host, port = self._listener.getsockname()[:2]
        models = await wait_until_ready(self._settings, host, port, self._socket)
        served.set()
        print(announcement(self._settings, host, port, models), flush=True)

    async def _drain(self) -> None:
        """Fronts finish what is under way and take nothing new; then the engine stops."""
        self._listener.close()
        within_s = self._settings.drain_s + MARGIN_S
        await asyncio.gather(*(front.stop(within_s) for front in self._fronts))
        await self._engine.stop(within_s)


def main(argv: list[str]) -> int:
    """Run `ntm serve`."""
    arguments = parser().parse_args(argv)
    given = {"NTM_HOST": arguments.host, "NTM_PORT": arguments.port}
    try:
        settings = Settings.from_env(
            os.environ | {name: value for name, value in given.items() if value is not None}
        )
        exposure.check(settings)
        listener = bind(settings.host, settings.port)
        grpc_port = hold(settings)
        tracing.check(settings)
    except (SettingsError, OSError) as error:
        print(f"ntm serve: {error}", file=sys.stderr)
        return 2
    logs.configure(settings)
    with listener, grpc_port or contextlib.nullcontext(), _folder() as folder:
        return asyncio.run(Supervisor(settings, listener, folder).run())


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises OSError, saying why, where it cannot."""
    where = f"port {port} of {host}"
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OSError(f"{where} is taken: end what listens there, or give --port") from None
        raise OSError(f"cannot listen on {where}: {error.strerror}") from None
    listener.set_inheritable(True)
    return listener


@contextlib.contextmanager
def _folder() -> Generator[Path]:
    """A folder that only this user can enter, for the engine's socket."""
    folder = tempfile.mkdtemp(prefix="ntm-")
    if len(os.fsencode(folder)) + len("/engine.sock") > SOCKET_PATH_BYTES:
        os.rmdir(folder)
        folder = tempfile.mkdtemp(prefix="ntm-", dir="/tmp")
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def parser() -> argparse.ArgumentParser:
    """What `ntm serve` takes."""
    lines = [f"  {name} ({default}): {meaning}" for name, default, meaning in table()]
    made = argparse.ArgumentParser(
        prog="ntm serve",
        description="Serve models until SIGTERM or Ctrl-C.",
        epilog="settings, from the environment:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--host", help="address to listen on, over NTM_HOST")
    made.add_argument("--port", help="port to listen on, over NTM_PORT")
    return made
