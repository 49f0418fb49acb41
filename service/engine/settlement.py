"""What the store said of a tick's steps, told to their sessions and to those who wait.

A step is acknowledged only when the store has it, and a session's next job starts only then, so
nothing runs on a state that could still be lost.
"""

from __future__ import annotations

import logging
from time import monotonic

from service.engine import farewell
from service.engine.commit import change_of, result_of, session_of, states_of
from service.engine.host import Host
from service.engine.job import Job
from service.engine.lifecycle import Lifecycle
from service.engine.refused import gone, key_reused
from service.engine.sessions import Session
from service.errors import CommitUnknown, Internal, NtmError, StoreAway
from service.request_ids import told
from service.results import PredictResult
from service.store.store import (
    Change,
    Committed,
    Damaged,
    Gone,
    Outcome,
    Record,
    Replayed,
    Stale,
    StoreUnavailable,
)

log = logging.getLogger("ntm.engine")


async def settle(life: Lifecycle, host: Host, jobs: list[Job]) -> None:
    """Commit the steps among these finished jobs of a host, and answer every job."""
    steps: list[Job] = []
    for job in jobs:
        if job.session is None:
            _predicted(host, job)
        else:
            steps.append(job)
    try:
        if steps:
            await _store(life, steps)
    except StoreUnavailable as error:
        log.warning("the store is away: %s; requests: %s", error, _who(steps))
        _lose(life, steps, _unknown() if error.sent else StoreAway(str(error)))
    except Exception:
        log.exception("a commit failed; requests: %s", _who(steps))
        _lose(life, steps, _unknown())


def _predicted(host: Host, job: Job) -> None:
    host.release(job)
    try:
        output = job.output()
        job.reply(PredictResult(output.tobytes(), output.shape, host.manifest.version))
    except Exception as error:  # a defect must not leave the steps beside it where they are
        log.exception("a prediction failed; requests: %s", _who([job]))
        job.fail(Internal(f"the prediction failed: {type(error).__name__}"))


async def _store(life: Lifecycle, jobs: list[Job]) -> None:
    begun = monotonic()
    for job in jobs:
        if job.phases is not None:
            job.phases.enter("commit")
    changes: list[Change] = []
    own: list[tuple[Job, int]] = []  # whose change is where: those before it begin its session
    states = states_of(jobs, life.settings.checkpoint_rows)
    for job in jobs:
        changes += job.before
        own.append((job, len(changes)))
        changes.append(change_of(job, states.get(job)))
    outcomes = await life.commit_all(changes)
    life.metrics.commit_seconds.observe(monotonic() - begun)
    for job, at in own:
        _settle(life, job, changes[at], outcomes[at])


def _settle(life: Lifecycle, job: Job, change: Change, outcome: Outcome) -> None:
    """Tell a step's true outcome; where it was committed, its state is now the session's."""
    session, job.committing = session_of(job), False
    match outcome:
        case Committed() if change.record is not None:
            _committed(life, job, session, change, change.record)
        case Gone(reason) if last := farewell.repeat_of(reason, job.guard):
            job.host.release(job)
            job.reply(last)
            life.drop(session, gone(session.row.id, reason))
        case Gone() | Damaged():
            error = life.refusal(session.row.id, outcome)
            job.host.give_up(job, error)
            life.drop(session, error)
        case Stale(row):
            life.metrics.conflicts.inc()
            life.moved_on(session, row)
            life.run_anew(session)
        case Replayed(record):
            _repeat(job, session, record)
            life.run_anew(session)
        case _:
            raise TypeError(f"{type(outcome).__name__} is no outcome of a step")


def _committed(life: Lifecycle, job: Job, session: Session, change: Change, record: Record) -> None:
    if job.before:
        life.begun(session)
    # First of all: who waits alone has the answer on its way while the rest is done.
    job.reply(result_of(session, record, job.trace_arrays() if job.trace else None))
    if change.ended is not None:
        job.host.release(job)
        life.drop(session, gone(session.row.id, change.ended))
        life.metrics.expiries.labels(farewell.ENDED).inc()
    elif life.is_held(session):
        job.host.commit(job)
        session.row = change.row
        session.remember(record)
        session.unsaved = 0 if change.checkpoint else session.unsaved + job.count
    else:  # what was held of the session has been let go of meanwhile
        job.host.release(job)
        life.overtaken(change.row)


def _repeat(job: Job, session: Session, record: Record) -> None:
    """The store knows the key from before: that was the reply. Nothing was written."""
    job.host.release(job)
    if record.fingerprint != job.guard.fingerprint:
        job.fail(key_reused(job.guard.key))
    else:
        job.reply(result_of(session, record, replayed=True))


def _lose(life: Lifecycle, jobs: list[Job], error: NtmError) -> None:
    """These were not committed, or nobody knows. Their sessions' others look at the store."""
    for job in jobs:
        if job.ended:
            job.fail(error)
        else:
            job.host.give_up(job, error)
            life.run_anew(session_of(job))


def _who(jobs: list[Job]) -> str:
    return told([name for job in jobs for name in job.request_ids])


def _unknown() -> CommitUnknown:
    # Whether the store has it cannot be known here: a retry with the key finds out.
    return CommitUnknown("the commit's outcome is unknown: repeat it with the same key")
