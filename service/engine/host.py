"""One loaded model: its bundle, runtime, slots and queue. A tick of it runs one batch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from export.bundle import Bundle, spec_fingerprint
from service.engine.arena import INITIAL, Arena
from service.engine.counts import Counts
from service.engine.job import Job
from service.engine.looked import Looked
from service.engine.metrics import EngineMetrics
from service.engine.packing import rows_that_change_all
from service.engine.placement import Placement
from service.engine.refused import mismatch
from service.engine.rerun import rerun
from service.engine.runtime import Floats, Runtime, StepOutput
from service.engine.scheduler import Scheduler
from service.engine.sessions import Session
from service.engine.statistics import Statistics
from service.engine.traced import TracedStep
from service.errors import Internal, NotFinite, NtmError
from service.request_ids import told
from service.results import ModelInfo
from service.store.store import Checkpoint, Record

if TYPE_CHECKING:
    from service.engine.phases import StepTracer

log = logging.getLogger("ntm.engine")
# What "trace": true tells of each row: where heads looked, what a machine calls and holds.
WATCHED_ROLES = ("read_weights", "write_weights", "usage", "stack", "counter", "register")


class Host:
    """Runs the jobs of one model on its runtime.

    Every method belongs to the engine's one thread. `verify`, on a shared store, takes a job in
    again whose If-Match fails on what is held here.
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
        self.runtime, self.scheduler, self.metrics = runtime, scheduler, metrics
        self.statistics = Statistics()
        self.counts = Counts(self.manifest.name, metrics, self.statistics)
        self.placement = Placement(runtime, arena, self._evicted)
        self.state_bytes = runtime.slot_bytes
        self.rows_that_change_all = rows_that_change_all(runtime.spec)
        self.spec_fingerprint = spec_fingerprint(self.manifest.state)
        self.verify: Callable[[Job], None] | None = None
        self.evicted: Callable[[Session, str], None] | None = None  # told of each, and why
        self.tracer: StepTracer | None = None
        self.traced: TracedStep | None = None  # loaded when first asked for
        self.traced_bytes = self.state_bytes + sum(t.nbytes for t in self.manifest.trace)  # a row
        self.looked = Looked()
        self.watch = [i for i, t in enumerate(runtime.spec) if t.role in WATCHED_ROLES]

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
            self.placement.arena.slots,
            self.runtime.reason,
        )

    def tick(self) -> tuple[bool, list[Job]]:
        """Run one batch. Returns whether there was one, and the jobs that have all outputs now.

        A job that cannot go on is told so and holds no slot any more.
        """
        batch, rows = self.scheduler.next_batch(self._place)
        ran = bool(batch)
        if self.placement.coming:
            self._arrive()
        batch = [job for job in batch if not job.ended and self._holds(job)]
        if not batch:
            return ran, []
        try:
            return True, self._run(batch, rows)
        except Exception as error:  # one bad batch must not take the engine with it
            ids = told([name for job in batch for name in job.request_ids])
            log.exception("a batch of %s failed; requests: %s", self.manifest.name, ids)
            for job in batch:
                self.give_up(job, Internal(f"the step failed: {type(error).__name__}"))
            return True, []

    def commit(self, job: Job) -> None:
        """The job's working state is now its session's."""
        self.placement.keep(job)
        self._finish(job)

    def release(self, job: Job) -> None:
        """Drop the job's working state: it was given up, or was a prediction."""
        self.placement.drop(job)
        self._finish(job)

    def give_up(self, job: Job, error: NtmError) -> None:
        """Tell everybody who waits for the job, and let go of it."""
        self.release(job)
        job.fail(error)

    def initial(self) -> list[NDArray[Any]]:
        """The state a session starts with, one array a tensor."""
        return self.runtime.save(INITIAL)

    def restore(self, session: Session, checkpoint: Checkpoint, records: list[Record]) -> None:
        """Bring a session's state back: its checkpoint, and the rows recorded after it run again.

        Raises ValueError for a checkpoint of another size.
        """
        self.placement.put(session, rerun(self.runtime, checkpoint.state, records))
        session.unsaved = sum(record.count for record in records)

    def update_gauges(self) -> None:
        """Bring the gauges of this model's device up to date."""
        used = self.runtime.backend.device_bytes()
        if used is not None:
            self.metrics.device_bytes.labels(self.runtime.backend.device).set(used)

    def _place(self, job: Job) -> bool:
        """Give a job its slots, or give it up where that fails."""
        try:
            placed = self.placement.take(job)
        except Exception as error:  # one bad state must not take the engine with it
            name, ids = self.manifest.name, told(job.request_ids)
            log.exception("a session of %s could not be put on the device: %s", name, ids)
            self.give_up(job, Internal(f"placing the session failed: {type(error).__name__}"))
            return False
        if placed:
            self.counts.waited(monotonic() - job.admitted_at)
            if job.phases is not None:
                job.phases.enter("step")
        return placed

    def _arrive(self) -> None:
        coming = self.placement.coming
        failed = self.placement.arrive()
        if coming > len(failed):
            restored = self.metrics.restores.labels(self.manifest.name, "host")
            restored.inc(coming - len(failed))
        for session in failed:
            for job in [job for job in session.jobs if job.started]:
                self.give_up(job, Internal("the session could not be put on the device"))

    def _evicted(self, session: Session) -> None:
        self.metrics.evicted(self.manifest.name, "device_full")
        if self.evicted is not None:
            self.evicted(session, "device_full")

    def _holds(self, job: Job) -> bool:
        """Does the job's If-Match hold, now that it is its turn? Else it is given up."""
        want = job.guard.if_match
        if job.done or job.session is None or want is None or job.session.holds(want):
            return True
        if self.verify is not None:
            self.verify(job)
            return False
        self.give_up(job, mismatch(want, job.session))
        return False

    def _run(self, batch: list[Job], rows: int) -> list[Job]:
        src, dst, x, watch = self._inputs(batch, rows)
        begun = monotonic()
        if self.tracer is None:
            out = self.runtime.step(src, dst, x, watch)
        else:
            with self.tracer.batch(self.manifest, batch, rows):
                out = self.runtime.step(src, dst, x, watch)
        took = monotonic() - begun
        self.counts.ran(len(batch), rows, took, self.scheduler.limit)
        return self._told(batch, out)

    def _inputs(
        self, batch: list[Job], rows: int
    ) -> tuple[list[int], list[int], Floats, list[int]]:
        """What the runtime is asked to do: from which slots to which, with what, watching what."""
        src: list[int] = []
        dst: list[int] = []
        parts: list[bytes] = []
        watch: list[int] = []
        for job in batch:
            src.append(self._source(job))
            dst.append(job.working or INITIAL)
            parts.append(job.next_rows(rows))
            if job.trace:
                watch = self.watch
        dims = (len(batch), rows, self.runtime.input_size)
        return src, dst, np.ndarray(dims, np.float32, bytearray().join(parts)), watch

    def _told(self, batch: list[Job], out: StepOutput) -> list[Job]:
        """Give each job what its rows came to. Returns those that have none left."""
        finite = np.isfinite(out.y)
        sound = False not in finite.tobytes()  # of few numbers `all` takes far longer
        finished: list[Job] = []
        for at, job in enumerate(batch):
            if not (sound or finite[at].all()):
                self.give_up(job, _past_float32())
                continue
            job.take(out, at)
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
            session.wake()
            if job.guard.key is not None:
                session.inflight.pop(job.guard.key, None)
        self.scheduler.finish(job)


def _past_float32() -> NotFinite:
    expected, got = "rows and a state whose outputs float32 can hold", "outputs past it"
    return NotFinite(f"expected {expected}, got {got}", expected=expected, got=got)
