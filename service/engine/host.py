"""One loaded model: its bundle, runtime, slots and queue. A tick of it runs one batch."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.bundle import Bundle, spec_fingerprint
from service.engine.arena import INITIAL, Arena
from service.engine.job import Job
from service.engine.metrics import EngineMetrics
from service.engine.refused import mismatch
from service.engine.runtime import Runtime
from service.engine.scheduler import Scheduler
from service.engine.sessions import Session
from service.errors import Internal, InvalidRequest, NotFinite, NtmError, WrongShape
from service.messages import ModelInfo
from service.store.store import Checkpoint, Record

log = logging.getLogger("ntm.engine")
WATCHED_ROLES = ("read_weights", "write_weights", "usage")


class Host:
    """Runs the jobs of one model on its runtime.

    Every method belongs to the engine's one thread. A session's committed slot is never written:
    a job writes a working slot, which `commit` makes the committed one.
    """

    def __init__(
        self,
        bundle: Bundle,
        runtime: Runtime,
        arena: Arena,
        scheduler: Scheduler[Job],
        metrics: EngineMetrics,
    ) -> None:
        self.bundle, self.manifest = bundle, bundle.manifest
        self.runtime, self.arena, self.scheduler, self.metrics = runtime, arena, scheduler, metrics
        self.state_bytes = runtime.slot_bytes
        self.spec_fingerprint = spec_fingerprint(self.manifest.state)
        # On a shared store: takes a job in again whose If-Match fails on what is held here.
        self.verify: Callable[[Job], None] | None = None
        self.watch = [i for i, t in enumerate(runtime.spec) if t.role in WATCHED_ROLES]
        self._resident: OrderedDict[Session, None] = OrderedDict()  # least recently used first

    @property
    def info(self) -> ModelInfo:
        """What clients may know of this model."""
        return ModelInfo(
            self.manifest,
            self.bundle.fingerprint,
            self.runtime.backend.name,
            self.runtime.backend.device,
            self.runtime.multiple,
            self.scheduler.max_batch,
            self.arena.slots,
        )

    @property
    def resident(self) -> int:
        """Sessions whose state has a slot of its own."""
        return len(self._resident)

    def tick(self) -> tuple[bool, list[Job]]:
        """Run one batch. Returns whether there was one, and the jobs that have all outputs now.

        A job that cannot go on is told so and holds no slot any more.
        """
        batch, rows = self.scheduler.next_batch(self._place)
        ran = bool(batch)
        batch = [job for job in batch if self._holds(job)]
        if not batch:
            return ran, []
        try:
            return True, self._run(batch, rows)
        except Exception as error:  # one bad batch must not take the engine with it
            log.exception("a batch of %s failed", self.manifest.name)
            for job in batch:
                self.give_up(job, Internal(f"the step failed: {type(error).__name__}"))
            return True, []

    def commit(self, job: Job) -> None:
        """The job's working state is now its session's."""
        session, slot = job.session, job.working
        if session is None or slot is None:
            raise RuntimeError("only a job of a session that has run can commit")
        self._drop_slot(session)
        session.slot, job.working = slot, None
        session.saved = None
        self._resident[session] = None
        self._finish(job)

    def release(self, job: Job) -> None:
        """Drop the job's working state: it was given up, or was a prediction."""
        if job.working is not None:
            self.arena.release(job.working)
            job.working = None
        self._finish(job)

    def give_up(self, job: Job, error: NtmError) -> None:
        """Tell everybody who waits for the job, and let go of it."""
        self.release(job)
        job.fail(error)

    def forget(self, session: Session) -> None:
        """The session has ended or is to be loaded anew."""
        self._drop_slot(session)
        session.saved = None

    def initial(self) -> list[NDArray[Any]]:
        """The state a session starts with, one array a tensor."""
        return self.runtime.save(INITIAL)

    def overridden(self, given: dict[str, bytes]) -> bytes:
        """The initial state with some tensors replaced, packed. Raises NtmError."""
        state = self.initial()
        names = [tensor.name for tensor in self.runtime.spec]
        for name, data in given.items():
            if name not in names:
                raise InvalidRequest(f"state: expected one of {names}, got {name!r}")
            spec = self.runtime.spec[names.index(name)]
            if len(data) != spec.nbytes:
                raise WrongShape(
                    f"state.{name}: expected dims {list(spec.dims)}, {spec.nbytes} bytes of "
                    f"{spec.dtype}, got {len(data)}"
                )
            values = np.frombuffer(data, spec.dtype).reshape(spec.dims)
            if not np.isfinite(values).all():
                raise NotFinite(f"state.{name}: expected finite numbers")
            state[names.index(name)] = values
        return self.pack(state)

    def restore(self, session: Session, checkpoint: Checkpoint, records: list[Record]) -> None:
        """Bring a session's state back: its checkpoint, and the rows recorded after it run again.

        Raises ValueError for a checkpoint of another size.
        """
        self.put(session, self.replayed(checkpoint.state, records))
        session.unsaved = sum(record.count for record in records)

    def put(self, session: Session, state: bytes | None) -> None:
        """The session's committed state is `state` from now on; None is the initial one."""
        self._drop_slot(session)
        session.saved = state
        if state is None:
            session.slot = self.arena.share(INITIAL)

    def replayed(
        self, state: bytes | None, records: list[Record], leave_out: int = 0
    ) -> bytes | None:
        """A packed state after the records' rows, but for the last `leave_out` of them.

        Raises ValueError for a state of another size.
        """
        arrays = self.initial() if state is None else self.unpack(state)
        rows = [np.frombuffer(r.rows, np.float32).reshape(r.count, -1) for r in records]
        if leave_out:
            rows[-1] = rows[-1][:-leave_out]
        return self.pack(self.runtime.replay(arrays, rows)) if rows else state

    def state(self, session: Session) -> list[NDArray[Any]]:
        """The committed state, one array a tensor."""
        if session.slot is not None:
            return self.runtime.save(session.slot)
        if session.saved is None:
            raise RuntimeError(f"session {session.row.id} has its state nowhere")
        return self.unpack(session.saved)

    def packed(self, session: Session) -> bytes | None:
        """The committed state as one string of bytes; None for the initial one."""
        if session.slot == INITIAL:
            return None
        return session.saved or self.pack(self.state(session))

    def update_gauges(self) -> None:
        """Bring the gauges of this model's device up to date."""
        used = self.runtime.backend.device_bytes()
        if used is not None:
            self.metrics.device_bytes.labels(self.runtime.backend.device).set(used)

    def pack(self, state: list[NDArray[Any]]) -> bytes:
        """A state as one string of bytes, in spec order."""
        return b"".join([np.ascontiguousarray(array).data for array in state])

    def unpack(self, data: bytes) -> list[NDArray[Any]]:
        """The inverse of `pack`. Raises ValueError for another length."""
        if len(data) != self.state_bytes:
            raise ValueError(f"expected {self.state_bytes} bytes of state, got {len(data)}")
        arrays: list[NDArray[Any]] = []
        at = 0
        for tensor in self.runtime.spec:
            part = np.frombuffer(data, tensor.dtype, tensor.size, at)
            arrays.append(part.reshape(tensor.dims))
            at += tensor.nbytes
        return arrays

    def _place(self, job: Job) -> bool:
        """Give a job its slots, or give it up where that fails."""
        try:
            return self._reserve(job)
        except Exception as error:  # one bad state must not take the engine with it
            log.exception("a session of %s could not be put on the device", self.manifest.name)
            self.give_up(job, Internal(f"placing the session failed: {type(error).__name__}"))
            return False

    def _reserve(self, job: Job) -> bool:
        """Take a job's slots, all or none, putting idle sessions off the device for them."""
        session = job.session
        away = session is not None and session.slot is None
        if not self._make_room(1 + away, session):
            return False
        if session is not None:
            if away:
                self._bring(session)
            session.pins += 1
            job.base = session.row
            if session in self._resident:
                self._resident.move_to_end(session)
        job.working = self.arena.take()
        self.metrics.queued(self.manifest.name, monotonic() - job.admitted_at)
        return True

    def _bring(self, session: Session) -> None:
        """Put a session's state on the device; where that fails it stays where it is."""
        state = self.state(session)
        slot = self.arena.take()
        try:
            self.runtime.load(slot, state)
        except Exception:
            self.arena.release(slot)
            raise
        session.slot, session.saved = slot, None
        self._resident[session] = None

    def _make_room(self, slots: int, wanted: Session | None) -> bool:
        while self.arena.free < slots:
            idle = (s for s in self._resident if s.pins == 0 and s is not wanted)
            session = next(idle, None)
            if session is None:
                return False
            session.saved = self.pack(self.state(session))
            self._drop_slot(session)
            self.metrics.evicted(self.manifest.name, "device_full")
        return True

    def _holds(self, job: Job) -> bool:
        """Does the job's If-Match hold, now that it is its turn? Else it is given up."""
        want = job.guard.if_match
        if job.done or want is None or job.session is None or want == job.session.etag:
            return True
        if self.verify is not None:
            self.verify(job)
            return False
        row = job.session.row
        self.give_up(job, mismatch(want, job.session.etag, row.step, row.revision))
        return False

    def _run(self, batch: list[Job], rows: int) -> list[Job]:
        x = np.stack([job.rows[job.done : job.done + rows] for job in batch])
        src = [self._source(job) for job in batch]
        dst = [job.working or INITIAL for job in batch]
        watch = self.watch if any(job.trace for job in batch) else []
        begun = monotonic()
        out = self.runtime.step(src, dst, x, watch)
        self.metrics.ticked(self.manifest.name, len(batch), rows, monotonic() - begun)
        finite = np.all(np.isfinite(out.y), axis=(1, 2))
        finished: list[Job] = []
        for at, job in enumerate(batch):
            if not finite[at]:
                self.give_up(job, NotFinite("these rows drive the outputs past float32"))
                continue
            job.take(out.y[at], [array[at] for array in out.watched])
            if job.left:
                self.scheduler.more(job)
            else:
                finished.append(job)
        return finished

    def _source(self, job: Job) -> int:
        if job.done and job.working is not None:
            return job.working
        if job.session is None or job.session.slot is None:
            return INITIAL
        return job.session.slot

    def _finish(self, job: Job) -> None:
        session = job.session
        if session is not None and not job.ended:
            session.pins -= job.started
            session.jobs.pop(job, None)
            if job.guard.key is not None:
                session.inflight.pop(job.guard.key, None)
        self.scheduler.finish(job)

    def _drop_slot(self, session: Session) -> None:
        if session.slot is not None:
            self.arena.release(session.slot)
            session.slot = None
        self._resident.pop(session, None)
