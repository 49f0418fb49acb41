"""From a finished job to a change for the store, and from a record to the answer."""

from __future__ import annotations

from time import time
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.engine import farewell
from service.engine.job import Job
from service.engine.packing import pack_all
from service.engine.sessions import Session
from service.requests import Steps
from service.results import StateTensor, StepsResult
from service.store.store import Change, Checkpoint, Record


def session_of(job: Job) -> Session:
    """The session of a job that has one. Raises RuntimeError for a prediction's."""
    if job.session is None:
        raise RuntimeError("a prediction has no session")
    return job.session


def states_of(jobs: list[Job], checkpoint_rows: int) -> dict[Job, bytes]:
    """The states to keep, of those jobs of a host after which as many rows have no checkpoint;
    where a row changes little of a state, more rows (`packing.rows_that_change_all`)."""
    due = {
        job: job.working
        for job in jobs
        if job.working is not None
        and session_of(job).unsaved + job.count >= checkpoint_rows * job.host.rows_that_change_all
    }
    if not due:
        return {}
    runtime = next(iter(due)).host.runtime
    return dict(zip(due, pack_all(runtime.read(list(due.values()))), strict=True))


def change_of(job: Job, state: bytes | None) -> Change:
    """A step as the store sees it; with a checkpoint where there is a state to keep."""
    session, row = session_of(job), job.base
    if row is None:
        raise RuntimeError("only a job that has run can commit")
    after = msgspec.structs.replace(
        row, revision=row.revision + 1, step=row.step + job.count, committed_at=time()
    )
    record = Record(
        "step",
        after.revision,
        after.step,
        job.rows,
        job.output().tobytes(),
        job.count,
        job.guard.key,
        job.guard.fingerprint,
    )
    expected = (row.incarnation, row.revision)
    if isinstance(job.request, Steps) and job.request.ends:
        reason = farewell.reason_of(job.guard, result_of(session, record))
        return Change(after, expected, record, ended=reason)
    checkpoint = Checkpoint(after.revision, after.step, state) if state else None
    return Change(after, expected, record, checkpoint)


def result_of(
    session: Session,
    record: Record,
    trace: list[NDArray[Any]] | None = None,
    replayed: bool = False,
) -> StepsResult:
    """The answer to a step. One without `trace` arrays tells no trace."""
    host = session.host
    tensors = None
    if trace is not None:
        specs = [host.runtime.spec[index] for index in host.watch]
        tensors = [
            StateTensor(spec.name, spec.role, array.shape, np.ascontiguousarray(array).tobytes())
            for spec, array in zip(specs, trace, strict=True)
        ]
    return StepsResult(
        record.outputs,
        (record.count, host.manifest.output.dims[0]),
        record.step,
        record.revision,
        session.row.incarnation,
        tensors,
        replayed,
        session.row.id,
        session.row.version,
    )
