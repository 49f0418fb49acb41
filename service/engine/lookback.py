"""What a network did in rows that a session keeps: they are run again, on the step that tells it.

    history, newest first -> the records of the window -> the state before its first row
                                                       -> the traced step over its rows
                                                          that were not told just before

A window lies within one run of steps: a reset, a restore, an import or a migration ends it, since
the state before and after it do not follow from one another.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.state import StateSpec, TensorSpec
from service.engine import looked
from service.engine.host import Host
from service.engine.lifecycle import Lifecycle
from service.engine.looked import Rows
from service.engine.packing import unpack
from service.engine.rerun import rerun_in_turns
from service.engine.rewind import host_at
from service.engine.runtime import BackendError
from service.engine.sessions import Session
from service.engine.traced import Seen, TracedStep
from service.errors import ModelNotLoaded, PointNotKept
from service.requests import Trace
from service.results import StateTensor, TraceResult
from service.store.store import Damaged, Gone, Record, Stored

PAGE = 256  # records read at a time
MOST_BYTES = 64 << 20  # of tensors in one answer; fewer rows are told where they have more


class Window(NamedTuple):
    """Rows to run: those of `records` but for the first `skipped` and what is past `rows` more."""

    records: list[Record]  # oldest first
    skipped: int
    rows: int


async def trace(life: Lifecycle, request: Trace) -> TraceResult:
    """The last kept rows up to a point, with what the network did in each. Raises NtmError."""
    session = await life.open(request.tenant, request.session, fresh=True)
    records = await _run_up_to(life, session, request)
    host = await host_at(life, session.row, records[-1].revision)
    kept, told = (_wanted(spec, request.roles) for spec in _specs(host))
    rows = min(request.rows, _most_rows(host, kept, told))
    window, stored = await _window(life, session, records, request.step, rows)
    async with life.replaying(request.tenant):  # one of a tenant at a time
        seen = await _seen(host, session, window, stored, (kept, told))
    return _result(session, host, window, seen, (kept, told))


async def _run_up_to(life: Lifecycle, session: Session, request: Trace) -> list[Record]:
    """The records of steps that lead to the wanted one without a break, newest last."""
    before = None if request.revision is None else request.revision + 1
    found: list[Record] = []
    count = 0
    while True:
        page = await life.store.history(session.row.key, before, PAGE)
        if isinstance(page, Gone | Damaged):
            raise life.refusal(request.session, page)
        for record in page:
            gap = found and record.revision != found[-1].revision - 1
            if not record.count or gap:
                return _some(found, session, request)
            found.append(record)
            count += record.count
            if count >= request.rows + _past(found[0], request.step):
                return _some(found, session, request)
        if len(page) < PAGE:
            return _some(found, session, request)
        before = page[-1].revision


def _past(last: Record, step: int | None) -> int:
    """Rows of the last record that come after the wanted step."""
    return 0 if step is None else max(0, last.step - step)


def _some(found: list[Record], session: Session, request: Trace) -> list[Record]:
    at = f"revision {request.revision}" if request.revision else "where it stands"
    last = found[0] if found else None
    if last is None or (request.revision not in (None, last.revision)):
        raise PointNotKept(f"session {session.row.id!r} keeps no step that led to {at}")
    if request.step is not None and not last.step - last.count < request.step <= last.step:
        begun = last.step - last.count + 1
        raise PointNotKept(
            f"the rows of revision {last.revision} are steps {begun} to {last.step}, "
            f"got {request.step}",
            expected=f"{begun} to {last.step}", got=request.step, where="step",
        )  # fmt: skip
    return found[::-1]


async def _window(
    life: Lifecycle, session: Session, records: list[Record], step: int | None, rows: int
) -> tuple[Window, Stored]:
    """The last rows of the records, from the oldest whose state before it can be had."""
    past = _past(records[-1], step)
    while records:
        count = sum(record.count for record in records) - past
        if len(records) > 1 and count - records[0].count >= rows:
            records = records[1:]
            continue
        stored = await life.store.at(session.row.key, revision=records[0].revision - 1)
        if isinstance(stored, Gone | Damaged):
            raise life.refusal(session.row.id, stored)
        if stored is not None:
            skipped = max(0, count - rows)
            return Window(records, skipped, count - skipped), stored
        records = records[1:]
    raise PointNotKept(f"session {session.row.id!r} keeps no state that these rows began with")


async def _seen(
    host: Host, session: Session, window: Window, stored: Stored, told: tuple[list[int], list[int]]
) -> Seen:
    """What the window's rows came to. ONNX Runtime lets the others' steps run meanwhile."""
    step, rows = await _traced(host), _rows_of(window)
    most = looked.MOST_BYTES // max(host.traced_bytes, 1)
    if window.rows > most:
        state = await _before(host, stored, window)
        return await asyncio.to_thread(step.run, state, rows.inputs, *told)
    key = (session.row.tenant, session.row.id, session.row.incarnation)
    run = host.looked.find(key, rows)
    if run is None:
        state = await _before(host, stored, window)
        run = await asyncio.to_thread(looked.begun, step, state, rows)
    elif not run.has(rows):
        run = await asyncio.to_thread(
            looked.gone_on, step, run, rows, max(window.rows, min(most, looked.KEPT_ROWS))
        )
    host.looked.keep(key, run)
    return looked.part(run, rows, *told)


async def _before(host: Host, stored: Stored, window: Window) -> list[NDArray[Any]]:
    """The state before the window's first row."""
    lead = [*stored.records, *window.records]
    leave_out = sum(record.count for record in window.records) - window.skipped
    packed = await rerun_in_turns(host.runtime, stored.checkpoint.state, lead, leave_out)
    return host.initial() if packed is None else unpack(host.runtime.spec, packed)


async def _traced(host: Host) -> TracedStep:
    if host.traced is None:
        try:
            host.traced = await asyncio.to_thread(TracedStep, host.bundle, 1)
        except BackendError as error:
            name = host.manifest.name
            raise ModelNotLoaded(f"the traced step of {name} cannot be run: {error}") from error
    return host.traced


def _specs(host: Host) -> tuple[StateSpec, StateSpec]:
    return host.manifest.state, host.manifest.trace


def _wanted(spec: StateSpec, roles: tuple[str, ...]) -> list[int]:
    return [at for at, tensor in enumerate(spec) if not roles or tensor.role in roles]


def _most_rows(host: Host, kept: list[int], told: list[int]) -> int:
    state, trace = _specs(host)
    nbytes = sum(state[at].nbytes for at in kept) + sum(trace[at].nbytes for at in told)
    return max(1, MOST_BYTES // max(nbytes, 1))


def _rows_of(window: Window) -> Rows:
    parts = [np.frombuffer(r.rows, np.float32).reshape(r.count, -1) for r in window.records]
    revisions = [record.revision for record in window.records for _ in range(record.count)]
    first, told = window.records[0], slice(window.skipped, window.skipped + window.rows)
    step = first.step - first.count + window.skipped + 1
    return Rows(step, revisions[told], np.concatenate(parts)[told])


def _result(
    session: Session, host: Host, window: Window, seen: Seen, told: tuple[list[int], list[int]]
) -> TraceResult:
    state, trace = _specs(host)
    rows = _rows_of(window)
    return TraceResult(
        session.row.incarnation,
        host.manifest.version,
        rows.step,
        rows.revisions,
        StateTensor("inputs", "other", rows.inputs.shape, rows.inputs.tobytes()),
        StateTensor("outputs", "other", seen.outputs.shape, seen.outputs.tobytes()),
        [_tensor(state[at], array) for at, array in zip(told[0], seen.state, strict=True)],
        [_tensor(trace[at], array) for at, array in zip(told[1], seen.trace, strict=True)],
    )


def _tensor(spec: TensorSpec, array: NDArray[Any]) -> StateTensor:
    return StateTensor(spec.name, spec.role, array.shape, array.tobytes())
