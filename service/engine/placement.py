"""Where each session's committed state is: in a slot on the device, or beside it as bytes.

Sessions that a batch needs are brought to the device, and the least recently used ones that no job
holds there are put off it.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from service.engine.arena import INITIAL, Arena
from service.engine.job import Job
from service.engine.packing import pack, pack_all, unpack, unpack_all
from service.engine.runtime import Runtime
from service.engine.sessions import Session
from service.request_ids import told

log = logging.getLogger("ntm.engine")
TOGETHER = 8  # one in so many slots is freed at a time


class Placement:
    """The slots of one model. `evicted` is called for each session that loses its slot.

    States move together, since moving one costs nearly as much as moving many: those that `take`
    wants on the device are written there by `arrive`, and where slots are many, some sessions are
    put off it before their slots are needed.

    A session's committed slot is never written: a job writes a working slot, which `keep` makes
    the committed one.
    """

    def __init__(self, runtime: Runtime, arena: Arena, evicted: Callable[[Session], None]) -> None:
        self.runtime, self.arena = runtime, arena
        self._evicted = evicted
        self._coming: list[Session] = []  # they have a slot, which has not their state yet
        self._resident: OrderedDict[Session, None] = OrderedDict()  # least recently used first

    @property
    def resident(self) -> int:
        """Sessions whose state is on the device, and is not the initial one."""
        return len(self._resident)

    @property
    def occupied(self) -> int:
        """The slots that their states take, forks sharing one."""
        return len({session.slot for session in self._resident})

    @property
    def coming(self) -> int:
        """Sessions that `arrive` will bring to the device."""
        return len(self._coming)

    def state(self, session: Session) -> list[NDArray[Any]]:
        """The committed state, one array a tensor."""
        if session.slot is not None:
            return self.runtime.save(session.slot)
        if session.saved is None:
            raise RuntimeError(f"session {session.row.id} has its state nowhere")
        return unpack(self.runtime.spec, session.saved)

    def packed(self, session: Session) -> bytes | None:
        """The committed state as one string of bytes; None for the initial one."""
        if session.slot == INITIAL:
            return None
        return session.saved or pack(self.state(session))

    def put(self, session: Session, state: bytes | None) -> None:
        """The session's committed state is `state` from now on; None is the initial one."""
        self._drop_slot(session)
        session.saved = state
        if state is None:
            session.slot = self.arena.share(INITIAL)

    def forget(self, session: Session) -> None:
        """The session has ended or is to be loaded anew."""
        self._drop_slot(session)
        session.saved = None

    def share(self, parent: Session, child: Session) -> None:
        """The child's state is the parent's: one slot has both until either steps (copy on
        write). Where the parent's has no slot of its own, the child's stays where it is."""
        if parent.slot:
            slot = self.arena.share(parent.slot)
            self._drop_slot(child)
            child.slot, child.saved = slot, None
            self._resident[child] = None

    def take(self, job: Job) -> bool:
        """Take a job's slots, all or none, putting idle sessions off the device for them.

        Its session's state may be there only after `arrive`.
        """
        session = job.session
        away = session is not None and session.slot is None
        if not self._make_room(1 + away, session):
            return False
        if session is not None:
            if away:
                self._expect(session)
            session.pins += 1
            job.base = session.row
            if session in self._resident:
                self._resident.move_to_end(session)
        job.working = self.arena.take()
        return True

    def arrive(self) -> list[Session]:
        """Write the states of those that are coming to their slots.

        Returns those for which that failed: their states stay where they are.
        """
        coming, self._coming = self._coming, []
        if not coming:
            return []
        try:
            states = unpack_all(self.runtime.spec, [s.saved for s in coming if s.saved is not None])
            self.runtime.write([s.slot for s in coming if s.slot is not None], states)
        except Exception:  # one bad state must not take the engine with it
            jobs = [job for session in coming for job in session.jobs]
            ids = told([name for job in jobs for name in job.request_ids])
            log.exception("%d sessions could not be put on the device: %s", len(coming), ids)
            for session in coming:
                self._drop_slot(session)
            return coming
        for session in coming:
            session.saved = None
        return []

    def keep(self, job: Job) -> None:
        """The job's working state is now its session's."""
        session, slot = job.session, job.working
        if session is None or slot is None:
            raise RuntimeError("only a job of a session that has run can commit")
        self._drop_slot(session)
        session.slot, job.working = slot, None
        session.saved = None
        self._resident[session] = None

    def drop(self, job: Job) -> None:
        """The job's working state is nobody's."""
        if job.working is not None:
            self._release(job.working)
            job.working = None

    def _expect(self, session: Session) -> None:
        if session.saved is None:
            raise RuntimeError(f"session {session.row.id} has its state nowhere")
        session.slot = self.arena.take()
        self._coming.append(session)
        self._resident[session] = None

    def _make_room(self, slots: int, wanted: Session | None) -> bool:
        short = slots - self.arena.free
        if short > 0:
            chosen, freed = self._idle(max(short, self.arena.slots // TOGETHER), wanted)
            if freed < short:
                return False
            self._put_off(chosen)
        return True

    def _idle(self, slots: int, wanted: Session | None) -> tuple[list[Session], int]:
        """Sessions that no job holds, least recently used first, as many as free so many slots,
        and how many that are: one that several share is free when all of them are off it."""
        chosen: list[Session] = []
        holders: dict[int, int] = {}
        freed = 0
        for session in self._resident:
            if freed == slots:
                break
            if session.pins or session is wanted or session.slot is None:
                continue
            chosen.append(session)
            left = holders.get(session.slot, self.arena.holders(session.slot)) - 1
            holders[session.slot] = left
            freed += not left
        return chosen, freed

    def _put_off(self, sessions: list[Session]) -> None:
        states = pack_all(self.runtime.read([s.slot for s in sessions if s.slot is not None]))
        for session, state in zip(sessions, states, strict=True):
            session.saved = state
            self._drop_slot(session)
            self._evicted(session)

    def _drop_slot(self, session: Session) -> None:
        if session.slot is not None:
            self._release(session.slot)
            session.slot = None
        self._resident.pop(session, None)

    def _release(self, slot: int) -> None:
        if self.arena.release(slot):
            self.runtime.free(slot)
