"""The engine: calls in, one answer each. Owns the sessions, the hosts and the store.

    call -> session -> job -> scheduler -> tick (one batch) -> commit -> reply

Everything runs in one event loop. stepper.py has the way of a step, answers.py all other calls.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from service.engine import catalog, upkeep
from service.engine.answers import answer
from service.engine.host import Host
from service.engine.job import Ticket
from service.engine.metrics import EngineMetrics
from service.engine.sequences import Sequences
from service.engine.stepper import Stepper
from service.engine.tasks import Tasks
from service.engine.ticker import Ticker
from service.engine.watching import watch
from service.errors import Draining, Internal, NtmError
from service.messages import Call
from service.requests import Predict, Reload, Request, Sequence, Steps, Watch
from service.results import ModelInfo
from service.settings import Settings
from service.store.store import Store, StoreUnavailable

if TYPE_CHECKING:
    from service.engine.phases import StepTracer

log = logging.getLogger("ntm.engine")
SWEEP_S = 1.0


class Engine:
    """All hosts behind one stream of calls. Lives in one event loop."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        metrics: EngineMetrics,
        tracer: StepTracer | None = None,
    ) -> None:
        self.settings, self.store, self.metrics = settings, store, metrics
        self._tracer = tracer
        self.draining = False
        self._tasks = Tasks()
        self._stepper = Stepper(settings, store, metrics, self._tasks)
        self._sequences = Sequences(self._stepper, self._tasks)
        self.life = self._stepper.life

    def add(self, host: Host) -> None:
        """Serve one more model."""
        manifest = host.manifest
        self.life.hosts[manifest.name, manifest.version] = host
        host.verify = self._stepper.verify if self.store.shared else None
        host.evicted = self.life.evicted
        host.tracer = self._tracer
        backend = host.runtime.backend
        self.metrics.models.labels(
            manifest.name, manifest.version, manifest.family, backend.name, backend.device
        ).set(1)

    async def reload(self, model: str | None = None) -> list[ModelInfo]:
        """Serve the new bundles under NTM_MODELS too, all or a model's. Raises NtmError."""
        added: list[ModelInfo] = []
        for host in await catalog.find_new(self.life, model):
            # Another reload may have brought the same meanwhile.
            if (host.manifest.name, host.manifest.version) not in self.life.hosts:
                self.add(host)
                added.append(host.info)
        return added

    def reload_soon(self) -> None:
        """Reload on a signal, which has nobody to answer: what goes wrong is logged."""
        self._tasks.begin(self._reload_logged())

    def handle(self, call: Call, ticket: Ticket) -> None:
        """Begin a call. Its ticket is answered once, now or later."""
        try:
            if self.draining:
                raise Draining("the server is stopping")
            match call.request:
                case Steps() as request:
                    self._stepper.step(request, call.timeout_s, ticket)
                case Sequence() as request:
                    self._sequences.take(request, call.timeout_s, ticket)
                case Predict() as request:
                    self._stepper.predict(request, call.timeout_s, ticket)
                case Watch() as request:
                    self._tasks.begin_for(ticket, self._watch(request, ticket))
                case None:
                    raise Internal("a call without a request")
                case request:
                    self._tasks.begin_for(ticket, self._answer(request, ticket))
        except NtmError as error:
            ticket.fail(error)
        except Exception as error:  # a defect costs its caller, nobody else
            log.exception("a call failed")
            ticket.fail(Internal(f"the call failed: {type(error).__name__}"))

    @property
    def together(self) -> Ticker:
        """For calls that came together."""
        return self._stepper.ticker

    def cancel(self, ticket: Ticket) -> None:
        """The client has gone: give its job up, unless others wait for it or it is committing."""
        try:
            self._sequences.cancel(ticket)
            self._stepper.cancel(ticket)
            self.life.feeds.leave(ticket)
        except Exception:  # a defect must not cost a front its connection
            log.exception("giving a call up failed")

    async def drain(self) -> None:
        """Refuse new calls, and return when those taken in are answered."""
        self.draining = True
        self.life.feeds.close()
        while self._tasks.busy or self._stepper.busy:
            await asyncio.sleep(0.005)

    async def sweep(self) -> None:
        """End idle sessions past their TTL, for as long as the loop runs."""
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await upkeep.sweep(self.life)
                await upkeep.spill(self.life, self.settings.host_state_bytes)
            except StoreUnavailable as error:
                log.warning("the store is away: %s", error)
            except Exception:
                log.exception("a sweep failed")

    async def _answer(self, request: Request, ticket: Ticket) -> None:
        if self._tracer is None:
            ticket.reply(await self._result(request))
            return
        with self._tracer.call(type(request).__name__.lower(), ticket.trace):
            result = await self._result(request)
        ticket.reply(result)

    async def _result(self, request: Request) -> Any:
        if isinstance(request, Reload):
            return await self.reload(request.model)
        return await answer(self.life, request)

    async def _watch(self, request: Watch, ticket: Ticket) -> None:
        ticket.reply(await watch(self.life, request, ticket))

    async def _reload_logged(self) -> None:
        try:
            log.info("reload: %d new models", len(await self.reload()))
        except NtmError as error:
            log.error("reload: %s", error)
