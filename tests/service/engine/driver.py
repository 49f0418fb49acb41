"""An engine driven in this process, and what it must look like when nothing is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.bundle import Bundle
from service.engine.arena import INITIAL, Arena
from service.engine.engine import Engine
from service.engine.host import Host
from service.engine.job import Job
from service.engine.runtime import Runtime
from service.engine.scheduler import Scheduler
from service.engine.sparse_slots import SparseSlots
from service.errors import NtmError
from service.messages import Call
from service.requests import Create, Delete, Describe, Guard, Memory, Predict, Request, Steps
from service.results import SessionInfo, StateResult, StepsResult

Floats = NDArray[np.float32]
TIMEOUT_S = 30.0
PATIENCE_S = 20.0  # how long a test waits for what must come
NO_NUMBER = -(2**60)  # of integers, what NaN is of floats
TIMED = (  # modules that ask what time it is, in Unix seconds
    "engine.commit", "engine.creation", "engine.lifecycle", "engine.mutations",
    "engine.snapshots", "engine.upkeep", "store.memory",
)  # fmt: skip


class Answer:
    """A ticket that keeps every answer it gets; there must be exactly one."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self.request_id = self.trace = ""
        self.got: list[Any] = []
        self._future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def reply(self, result: Any) -> None:
        """See `Ticket`."""
        self.got.append(result)
        if not self._future.done():
            self._future.set_result(result)

    def fail(self, error: NtmError) -> None:
        """See `Ticket`."""
        self.got.append(error)
        if not self._future.done():
            self._future.set_exception(error)

    @property
    def code(self) -> str | None:
        """The error's code, or None for a result."""
        return self.got[0].code if isinstance(self.got[0], NtmError) else None

    async def wait(self) -> Any:
        """The result. Raises the error."""
        return await asyncio.wait_for(asyncio.shield(self._future), PATIENCE_S)

    async def settled(self) -> Answer:
        """This answer, once it has come."""
        await asyncio.wait_for(asyncio.wait([self._future]), PATIENCE_S)
        self._future.exception()  # seen, so that nobody warns of it
        return self


class Driver:
    """Calls an engine as a front does, without the socket."""

    def __init__(self, engine: Engine, tenant: str = "alice") -> None:
        self.engine, self.tenant = engine, tenant
        self.answers: list[Answer] = []

    def send(self, request: Request | None, timeout_s: float = TIMEOUT_S) -> Answer:
        """Begin a call."""
        answer = self.ticket()
        self.answers.append(answer)
        self.engine.handle(Call(len(self.answers), request, timeout_s), answer)
        return answer

    def ticket(self) -> Answer:
        """Where the next call's answer goes."""
        return Answer()

    async def call(self, request: Request | None, timeout_s: float = TIMEOUT_S) -> Any:
        """A call's result. Raises its error."""
        return await self.send(request, timeout_s).wait()

    async def refused(self, request: Request | None) -> NtmError:
        """The error that a call ends with."""
        answer = await self.send(request).settled()
        assert answer.code is not None, answer.got
        return answer.got[0]

    async def create(self, name: str | None = None, **fields: Any) -> SessionInfo:
        """Begin a session."""
        return await self.call(self.creation(name, **fields))

    def creation(
        self,
        name: str | None = None,
        *,
        model: str = "copy",
        version: str | None = None,
        ttl_s: float | None = None,
        state: dict[str, bytes] | None = None,
        guard: Guard | None = None,
    ) -> Create:
        """A request for a session."""
        return Create(self.tenant, model, version, name, ttl_s, state, guard or Guard())

    def steps(
        self, session: str, rows: Floats, *, trace: bool = False, guard: Guard | None = None
    ) -> Steps:
        """A request to run rows (T, X)."""
        dims = (rows.shape[0], rows.shape[1])
        return Steps(self.tenant, session, rows.tobytes(), dims, trace, guard or Guard())

    def step(self, session: str, rows: Floats, **fields: Any) -> Answer:
        """Begin to run rows."""
        return self.send(self.steps(session, rows, **fields))

    async def stepped(self, session: str, rows: Floats, **fields: Any) -> StepsResult:
        """What running rows gives."""
        return await self.step(session, rows, **fields).wait()

    async def predict(self, rows: Floats) -> Floats:
        """Outputs (T, Y) from fresh state."""
        dims = (rows.shape[0], rows.shape[1])
        result = await self.call(Predict(self.tenant, "copy", None, rows.tobytes(), dims))
        return np.frombuffer(result.outputs, np.float32).reshape(result.dims)

    async def describe(self, session: str) -> SessionInfo:
        """Where a session stands."""
        return await self.call(Describe(self.tenant, session))

    async def memory(self, session: str) -> StateResult:
        """A session's state."""
        return await self.call(Memory(self.tenant, session))

    async def delete(self, session: str, if_match: str | None = None) -> None:
        """End a session."""
        await self.call(Delete(self.tenant, session, Guard(if_match=if_match)))

    async def at_rest(self) -> None:
        """Wait until nothing is under way, then check that nothing was left behind."""
        hosts = list(self.engine.life.hosts.values())
        await until(lambda: all(host.scheduler.admitted == 0 for host in hosts))
        await until(lambda: all(answer.got for answer in self.answers))
        assert all(len(answer.got) == 1 for answer in self.answers)
        for host in hosts:
            assert_no_slot_leaked(host)


def fill(runtime: Runtime, slots: Sequence[int], value: float) -> None:
    """Write a number all over some slots, behind the back of the runtime's own writing."""
    for array in runtime.arrays:
        if not isinstance(array, SparseSlots):  # a slot may stand for what is put back into another
            array[list(slots)] = value if "float" in str(array.dtype) else NO_NUMBER


class PoisonedArena(Arena):
    """An arena that overwrites with NaN what nobody holds."""

    def __init__(self, slots: int, runtime: Runtime) -> None:
        super().__init__(slots)
        self._runtime = runtime
        fill(runtime, [slot for slot in range(slots) if slot != INITIAL], np.nan)

    def release(self, slot: int) -> bool:
        """See `Arena`."""
        freed = super().release(slot)
        if freed:
            fill(self._runtime, [slot], np.nan)
        return freed


def make_host(
    bundle: Bundle,
    runtime: Runtime,
    engine: Engine,
    *,
    slots: int = 8,
    max_batch: int = 8,
    max_queue: int = 64,
) -> Host:
    """A host on slots full of NaN. `runtime` may be shared by hosts that do not live at once."""
    scheduler: Scheduler[Job] = Scheduler(
        max_batch, max_queue, tenant_share=engine.life.settings.queue_share
    )
    return Host(bundle, runtime, PoisonedArena(slots, runtime), scheduler, engine.metrics)


def assert_no_slot_leaked(host: Host) -> None:
    """Every slot is the initial state's, an idle session's, or free."""
    arena = host.placement.arena
    assert host.scheduler.admitted == 0
    assert arena.free == arena.slots - 1 - host.placement.occupied


async def until(condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Wait until a condition holds. Raises TimeoutError where it does not come to."""
    async with asyncio.timeout(patience_s):
        while not condition():
            await asyncio.sleep(0.002)


def rows_of(seed: int, count: int, width: int = 9) -> Floats:
    """Rows (count, width) as a client may send them."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, width)).astype(np.float32)


def codes(answers: Sequence[Answer]) -> list[str | None]:
    """The error codes of answers, None for a result."""
    return [answer.code for answer in answers]
