"""The state at an earlier point of a session: a kept checkpoint, and the rows after it run again.

Rows are run again on the version they first ran on, which a later migration may have left.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from service.engine.host import Host
from service.engine.hosts import exactly
from service.engine.lifecycle import Lifecycle
from service.engine.packing import pack
from service.engine.rerun import rerun_in_turns
from service.engine.sessions import Session
from service.errors import InvalidRequest, PointNotKept
from service.requests import Point
from service.store.store import Damaged, Gone, Record, SessionRow

PAGE = 256  # records read at a time


class Rebuilt(NamedTuple):
    """step: rows consumed there; state: None is the initial one of the session's version."""

    step: int
    state: bytes | None


async def rebuild(life: Lifecycle, session: Session, point: Point) -> Rebuilt:
    """The state at a kept point. Raises PointNotKept, ModelNotLoaded and other NtmErrors."""
    row = session.row
    if point.step is not None and point.step < 0:
        raise InvalidRequest(f"step: expected at least 0, got {point.step}")
    stored = await life.store.at(
        row.key, step=point.step, revision=point.revision, snapshot=point.snapshot
    )
    if stored is None:
        raise PointNotKept(f"session {row.id!r} keeps no {_said(point)}")
    if isinstance(stored, Gone | Damaged):
        raise life.refusal(row.id, stored)
    checkpoint, records = stored.checkpoint, stored.records
    last = records[-1].step if records else checkpoint.step
    step = last if point.step is None else point.step
    if checkpoint.state is not None and not records:
        return Rebuilt(step, checkpoint.state)
    host = await host_at(life, row, checkpoint.revision)
    async with life.replaying(row.tenant):  # one of a tenant at a time: others are not to wait
        state = await rerun_in_turns(host.runtime, checkpoint.state, records, last - step)
    if state is None and host is not session.host:
        state = pack(host.initial())
    return Rebuilt(step, state)


def left(row: SessionRow) -> bytes:
    """What a mutation that is no step records: the version, and the bundle, that it left."""
    return f"{row.version} {row.fingerprint}".encode()


async def host_at(life: Lifecycle, row: SessionRow, revision: int) -> Host:
    """What the session ran on at a revision. Raises ModelNotLoaded where it is not loaded."""
    version, fingerprint = row.version, row.fingerprint
    async for record in _later(life, row, revision):
        if record.rows and not record.count:
            version, _, fingerprint = record.rows.decode().rpartition(" ")
    return exactly(life.hosts, row.model, version, fingerprint)


async def _later(life: Lifecycle, row: SessionRow, revision: int) -> AsyncIterator[Record]:
    """The session's records after a revision, newest first."""
    before: int | None = None
    while True:
        page = await life.store.history(row.key, before, PAGE)
        if isinstance(page, Gone | Damaged):
            raise life.refusal(row.id, page)
        for record in page:
            if record.revision <= revision:
                return
            yield record
        if len(page) < PAGE:
            return
        before = page[-1].revision


def _said(point: Point) -> str:
    if point.snapshot is not None:
        return f"snapshot {point.snapshot!r}"
    return f"step {point.step}" if point.revision is None else f"revision {point.revision}"
